package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"

	fairlead "github.com/fairlead/fairlead/clients/go"
)

// load is a number of publishers, each with a channel of its own, load.N, to
// which it publishes 0, 1, 2 and so on, the next when the last is acknowledged.
type load struct {
	milestones chan struct{} // has something in it when so many more were acknowledged
	every      int
	stopping   chan struct{}
	wg         sync.WaitGroup

	mu    sync.Mutex // guards the following
	count int
	acked map[string][]sighting // by channel
	err   error
}

// startLoad publishes by the clients in turn. There is a milestone every so many acknowledgements.
func startLoad(ctx context.Context, t *testing.T, publishers, every int, clients ...*http.Client) *load {
	l := &load{milestones: make(chan struct{}, 1), every: every, stopping: make(chan struct{}), acked: map[string][]sighting{}}
	for p := range publishers {
		client, err := fairlead.New(siteURL, fairlead.Options{HTTPClient: clients[p%len(clients)]})
		if err != nil {
			t.Fatal(err)
		}
		l.wg.Go(func() {
			if err := l.publish(ctx, client, "load."+strconv.Itoa(p)); err != nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) publish(ctx context.Context, client *fairlead.Client, channel string) error {
	for n := 0; ; n++ {
		select {
		case <-l.stopping:
			return nil
		default:
		}
		data := strconv.Itoa(n)
		receipt, err := client.Publish(ctx, channel, fairlead.Publication{Data: json.RawMessage(data)})
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.acked[channel] = append(l.acked[channel], sighting{channel, receipt.ID.String(), data})
		l.count++
		milestone := l.count%l.every == 0
		l.mu.Unlock()
		if milestone {
			select {
			case l.milestones <- struct{}{}:
			default:
			}
		}
	}
}

// await waits for the next milestone.
func (l *load) await(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-l.milestones:
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	}
}

// stop ends the load, publishes the end message, and returns what was acknowledged, by channel.
func (l *load) stop(t *testing.T, client *http.Client) map[string][]sighting {
	t.Helper()
	close(l.stopping)
	l.wg.Wait()
	if l.err != nil {
		t.Fatal(l.err)
	}
	post(t, client, endChannel, "null")
	return l.acked
}

// receipt is the answer to a publish, in any of its shapes.
type receipt struct {
	ID        string    `json:"id"`
	Duplicate bool      `json:"duplicate"`
	IDs       []receipt `json:"ids"`
	Stored    int       `json:"stored"`
	Replies   []frame   `json:"replies"`
}

// post publishes JSON without retries, and returns the id.
func post(t *testing.T, client *http.Client, channel, data string) string {
	t.Helper()
	var r receipt
	if err := call(t.Context(), client, "channels/"+channel+"/messages", "application/json", `{"data":`+data+`}`, &r); err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// call posts body and decodes the answer. header are names and values.
func call(ctx context.Context, client *http.Client, path, media, body string, answer any, header ...string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, siteURL+"/v1/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", media)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return do(client, r, answer)
}

func do(client *http.Client, r *http.Request, answer any) error {
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	return json.Unmarshal(text, answer)
}

// history is all that the log holds of a channel, read page by page.
func history(t *testing.T, client *http.Client, channel string) (all []frame) {
	t.Helper()
	for after := "0"; after != ""; {
		var page struct {
			Messages []frame `json:"messages"`
			Next     string  `json:"next"`
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/v1/channels/"+channel+"/messages?limit=500&after="+after, nil)
		if err == nil {
			err = do(client, r, &page)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Messages...)
		after = page.Next
	}
	return all
}
