package broker

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fairlead/fairlead/protocol"
)

// longest is a message with as many bytes of headers as there can be.
func longest(payload int) Publication {
	return Publication{
		Channel: strings.Repeat("c", 200), Type: strings.Repeat("t", protocol.MaxTypeBytes), From: strings.Repeat("f", 256),
		Key: strings.Repeat("k", protocol.MaxKeyBytes-26) + rand.Text(), Encoding: protocol.EncodingBase64, Payload: make([]byte, payload),
	}
}

func setMaxMessage(t *testing.T, b *Broker, n int) {
	t.Helper()
	if err := b.SetMaxMessage(n); err != nil {
		t.Fatal(err)
	}
}

// wantTakes checks that messages of n bytes are stored, alone and in a batch, and larger ones are not.
func wantTakes(t *testing.T, b *Broker, n int) {
	t.Helper()
	publish := func(size int) error {
		_, err := b.Publish(t.Context(), longest(size))
		return err
	}
	batch := func(size int) error {
		_, err := b.PublishBatch(t.Context(), []Publication{longest(size), longest(1)})
		return err
	}
	for name, send := range map[string]func(int) error{"alone": publish, "in a batch": batch} {
		if err := send(n); err != nil {
			t.Errorf("%d bytes %s: got %v", n, name, err)
		}
		if err := send(n + 1); protocol.ErrorFrom(err).Code != protocol.TooLarge {
			t.Errorf("%d bytes %s: got %v, want too_large", n+1, name, err)
		}
	}
}

func TestTheLimitOfAMessageChangesWhileTheServerRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := open(t, Options{})
		wantTakes(t, b, defaultMaxMessage)
		for _, n := range []int{100, 1000} {
			setMaxMessage(t, b, n)
			wantTakes(t, b, n)
		}

		const most = largestRecord - headerRoom
		setMaxMessage(t, b, most)
		if _, err := b.Publish(t.Context(), longest(most)); err != nil {
			t.Fatal(err)
		}
		if m := history(t, b, longest(0).Channel, protocol.Range{Last: 1}, 1).Messages; len(m) != 1 || m[0].Wire.Len() < most {
			t.Errorf("the largest message comes as %d", len(m))
		}
		err := b.SetMaxMessage(most + 1)
		if err == nil || !strings.HasSuffix(err.Error(), "set limits.frame to at most 33550336") {
			t.Errorf("got %v", err)
		}
		if _, err := b.Publish(t.Context(), longest(most+1)); protocol.ErrorFrom(err).Code != protocol.TooLarge {
			t.Errorf("a message over the largest: got %v", err)
		}
		setMaxMessage(t, b, 10)
		wantTakes(t, b, 10)
	})
}

func TestALimitOverWhatNATSTakesIsRefused(t *testing.T) {
	const takes = 100_000
	for name, make := range map[string]func(t *testing.T) (url string){
		"server": func(t *testing.T) string {
			url, _ := externalNATSFor(t, takes)
			return url
		},
		"stream": func(t *testing.T) string {
			url, js := externalNATS(t)
			_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "FAIRLEAD", Subjects: []string{"ch.>"}, MaxMsgSize: takes, AllowAtomicPublish: true})
			if err != nil {
				t.Fatal(err)
			}
			return url
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, Options{URL: make(t)})
			setMaxMessage(t, b, takes-headerRoom)
			err := b.SetMaxMessage(takes - headerRoom + 1)
			for _, want := range []string{"NATS takes messages of at most 100000 bytes", "limits.frame to at most 95904", "max_payload", "to at least 100001"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			wantTakes(t, b, takes-headerRoom)
		})
	}
}

// Its operator may lower what NATS takes at any time.
func TestAMessageThatNATSRefusesForItsSizeIsTooLarge(t *testing.T) {
	url, js := externalNATSFor(t, 500_000)
	b := open(t, Options{URL: url})
	b.maxMessage.Store(1 << 20)
	refused := func(what string, err error) {
		t.Helper()
		if protocol.ErrorFrom(err).Code != protocol.TooLarge {
			t.Errorf("%s: got %v", what, err)
		}
	}
	_, err := b.Publish(t.Context(), longest(600_000))
	refused("over the server's limit", err)
	_, err = b.PublishBatch(t.Context(), []Publication{longest(600_000), longest(1)})
	refused("over the server's limit, first in a batch", err)
	_, err = b.PublishBatch(t.Context(), []Publication{longest(1), longest(600_000)})
	refused("over the server's limit, last in a batch", err)

	stream, err := js.Stream(t.Context(), "FAIRLEAD")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxMsgSize = 100_000
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	_, err = b.Publish(t.Context(), longest(200_000))
	refused("over the stream's limit", err)
}

func TestTheLimitOfTheServerIsNoWarning(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelWarn}))
		open(t, Options{Logger: log})
		serverLog{log}.Warnf("Something else: %d", 7)
		if got := said.String(); strings.Count(got, "level=") != 1 || !strings.Contains(got, "Something else: 7") {
			t.Errorf("it said %s", got)
		}
	})
}
