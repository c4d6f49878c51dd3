package broker

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/protocol"
)

// batchTurns is how many batches are stored at a time. Each opens files and waits
// for the disk, and JetStream stores nothing else meanwhile: more at a time are
// not stored faster, and single messages take up to a thousand times as long.
const batchTurns = 1

// batchWait is how long a batch waits for its turn.
const batchWait = 2 * time.Second

// batchesWaiting is how many batches of one client wait for their turn.
const batchesWaiting = 1000

// batchTurn waits until it is the client's turn to store a batch. It fails with
// an error for the client. The caller calls done.
func (b *Broker) batchTurn(ctx context.Context, who Client) (done func(), err error) {
	if _, waiting := b.batches.of(who); waiting >= batchesWaiting {
		return nil, tooManyBatches()
	}
	ctx, cancel := context.WithTimeout(ctx, batchWait)
	defer cancel()
	done, err = b.batches.wait(ctx, who)
	if err == nil {
		return done, nil
	}
	if taken, waiting := b.batches.of(who); taken+waiting > 0 {
		return nil, tooManyBatches()
	}
	busy := protocol.Errorf(protocol.Unavailable, "too many arrays and messages to many channels are being stored: retry, with the same keys, or publish one message at a time")
	busy.RetryAfter = time.Second
	return nil, busy.Because(ExceededBatches)
}

func tooManyBatches() error {
	return exceeded(ExceededBatches, time.Second, "you publish more arrays and messages to many channels at a time than can be stored: wait, or make one of several")
}
