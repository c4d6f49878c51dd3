package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// ways are all the ways to publish a message with a key. They try once.
var ways = []struct {
	name    string
	publish func(ctx context.Context, client *http.Client, key, data string) (id string, err error)
}{
	{"Idempotency-Key", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		return callID(ctx, client, "channels/load.keys/messages", "text/plain", data, "Idempotency-Key", key)
	}},
	{"JSON", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		return callID(ctx, client, "channels/load.keys/messages", "application/json", keyed(key, data))
	}},
	{"array", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		return callID(ctx, client, "channels/load.keys/messages", "application/json", "["+keyed(key, data)+"]")
	}},
	{"NDJSON", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		return callID(ctx, client, "channels/load.keys/messages", "application/x-ndjson", keyed(key, data)+"\n")
	}},
	{"SSE", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		return callID(ctx, client, "channels/load.keys/messages", "text/event-stream", "id: "+key+"\ndata: "+data+"\n\n")
	}},
	{"fan-out", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		return callID(ctx, client, "publish", "application/json", `{"channels":["load.keys"],`+keyed(key, data)[1:])
	}},
	{"command", func(ctx context.Context, client *http.Client, key, data string) (string, error) {
		var r receipt
		command := `{"session":"s","commands":[{"op":"publish","cid":1,"channel":"load.keys",` + keyed(key, data)[1:] + `]}`
		if err := call(ctx, client, "commands", "application/json", command, &r); err != nil {
			return "", err
		}
		return idOf(r.Replies[0])
	}},
	{"WebSocket", publishBySocket},
}

func keyed(key, data string) string { return fmt.Sprintf(`{"key":%q,"data":%q}`, key, data) }

func callID(ctx context.Context, client *http.Client, path, media, body string, header ...string) (string, error) {
	var r receipt
	err := call(ctx, client, path, media, body, &r, header...)
	return r.ID, err
}

func idOf(reply frame) (string, error) {
	if !reply.OK {
		return "", fmt.Errorf("the reply is the error %s", reply.Error.Code)
	}
	return reply.ID, nil
}

func publishBySocket(ctx context.Context, client *http.Client, key, data string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, siteURL+"/v1/attach?channel=nothing", nil)
	if err != nil {
		return "", err
	}
	r.Header = socketHeader()
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	conn, ok := response.Body.(io.ReadWriter)
	if !ok {
		return "", fmt.Errorf("no upgrade: %s", response.Status)
	}
	if err := sendText(conn, []byte(`{"op":"publish","cid":1,"channel":"load.keys",`+keyed(key, data)[1:])); err != nil {
		return "", err
	}
	for in := bufio.NewReader(conn); ; {
		text, err := nextText(in)
		if err != nil {
			return "", err
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			return "", err
		}
		if f.Op == "reply" {
			return idOf(f)
		}
	}
}

// TestPromise4ExactlyOncePublish publishes with keys while the gateway is
// killed again and again. What was not acknowledged is tried again, another
// way; and in the end everything is. Each key is stored once, as it was first
// published, and each answer is the first one's id.
func TestPromise4ExactlyOncePublish(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	s := newSite(t, "--data", t.TempDir())
	client := clientBy(t, s.dial)
	k := keys{client: client, ids: map[string]string{}, milestones: make(chan struct{}, 1), stopping: make(chan struct{})}
	var wg sync.WaitGroup
	for p := range len(ways) {
		wg.Go(func() { k.publish(ctx, t, p) })
	}
	for range 4 {
		select {
		case <-k.milestones:
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		}
		s.kill()
		s.start()
	}
	close(k.stopping)
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, m := range history(t, client, "load.keys") {
		switch id := k.ids[m.Key]; {
		case id == "":
			t.Errorf("%s with the key %q is in the log twice, or nobody published it", m.ID, m.Key)
		case id != m.ID:
			t.Errorf("the key %s: the answer was %s, but it is stored as %s", m.Key, id, m.ID)
		case string(m.Data) == `"again"`:
			t.Errorf("the key %s: a later publish took the place of the first", m.Key)
		}
		delete(k.ids, m.Key)
	}
	for key, id := range k.ids {
		t.Errorf("the key %s was acknowledged as %s, and is not in the log", key, id)
	}
	t.Logf("%d keys, of which %d had to be tried again after a kill", k.count, k.again)
}

// keys are messages with keys, as they are published.
type keys struct {
	client     *http.Client
	milestones chan struct{}
	stopping   chan struct{}

	mu    sync.Mutex // guards the following
	ids   map[string]string
	count int
	again int
}

// publish publishes one key after the other, until it is told to stop, and
// then every second one again, first by way p.
func (k *keys) publish(ctx context.Context, t *testing.T, p int) {
	for n := 0; ; n++ {
		select {
		case <-k.stopping:
			k.repeat(ctx, t, p, n)
			return
		default:
		}
		key := fmt.Sprintf("p%d-%d", p, n)
		id, tries, err := k.once(ctx, key, p+n)
		if err != nil {
			t.Errorf("publish %s: %v", key, err)
			return
		}
		k.note(key, id, tries)
	}
}

func (k *keys) note(key, id string, tries int) {
	const every = 400
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids[key] = id
	k.count++
	if tries > 1 {
		k.again++
	}
	if k.count%every == 0 {
		select {
		case k.milestones <- struct{}{}:
		default:
		}
	}
}

// once publishes until there is an answer, each time another way and with other data.
func (k *keys) once(ctx context.Context, key string, way int) (id string, tries int, err error) {
	for ; ; tries++ {
		id, err = ways[(way+tries)%len(ways)].publish(ctx, k.client, key, "try "+strconv.Itoa(tries))
		if err == nil {
			return id, tries + 1, nil
		}
		select {
		case <-time.After(time.Millisecond << min(tries, 6)):
		case <-ctx.Done():
			return "", tries, err
		}
	}
}

func (k *keys) repeat(ctx context.Context, t *testing.T, p, count int) {
	for n := 0; n < count; n += 2 {
		key := fmt.Sprintf("p%d-%d", p, n)
		way := ways[(p+n/2)%len(ways)]
		id, err := way.publish(ctx, k.client, key, "again")
		k.mu.Lock()
		want := k.ids[key]
		k.mu.Unlock()
		if err != nil || id != want {
			t.Errorf("%s again, by %s: got %q, %v, want the first one's id, %s", key, way.name, id, err, want)
			return
		}
	}
}
