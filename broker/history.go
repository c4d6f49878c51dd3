package broker

import (
	"context"
	"math"

	"github.com/fairlead/fairlead/protocol"
)

// A Page is a part of a channel's history, oldest first.
type Page struct {
	Messages []*Entry
	Next     protocol.Cursor // where the next page begins, in the same direction; nil if there is none
	Gap      *protocol.Gap   // messages that the page would hold are not in the log any more
}

// pageBytes is about how much a page holds at most; one larger message is a page of its own.
const pageBytes = 1 << 20

// History reads a page of at most limit messages, which must be 1 or more. It
// ends early, with a next one, when its messages exceed about a mebibyte. What
// this node has acknowledged, and what the range's cursor names, is in the log
// that it reads: it waits for that, at most a second, and is unavailable after it.
func (b *Broker) History(ctx context.Context, channel string, r protocol.Range, limit int) (Page, error) {
	return b.HistoryFor(ctx, Client{}, channel, r, limit)
}

// HistoryFor is History for a client, which takes turns with others where the
// stored log has to be read.
func (b *Broker) HistoryFor(ctx context.Context, who Client, channel string, r protocol.Range, limit int) (Page, error) {
	if err := protocol.CheckChannel(channel); err != nil {
		return Page{}, err
	}
	if err := r.Check(); err != nil {
		return Page{}, err
	}
	if b.stale.Load() {
		return Page{}, errStale()
	}
	if err := b.reach(ctx, who, r); err != nil {
		return Page{}, err
	}
	switch {
	case r.Before != nil:
		return b.pageBefore(ctx, who, channel, *r.Before, limit)
	case r.Last > 0:
		return b.lastPage(ctx, who, channel, b.Head().Seq+1, min(r.Last, limit))
	case r.After != nil:
		return b.pageAfter(ctx, who, channel, *r.After, limit)
	default:
		return b.pageAfter(ctx, who, channel, protocol.Cursor{}, limit)
	}
}

func (b *Broker) pageAfter(ctx context.Context, who Client, channel string, cursor protocol.Cursor, limit int) (Page, error) {
	var page Page
	s, gap, err := b.resolve(ctx, who, channel, protocol.Start{After: &cursor})
	if err != nil {
		return Page{}, err
	}
	if gap != nil {
		page.Gap = &protocol.Gap{From: cursor, To: b.id(s.after), Reason: protocol.GapReplaced}
		if _, ok := cursor.In(b.Epoch()); ok {
			page.Gap.Reason = protocol.GapAhead
		}
	}
	entries, ok := b.tail.page(channel, s.after, limit+1)
	more := false
	if !ok {
		part, err := b.readPage(ctx, who, channel, s.after+1, everything, limit+1, pageBytes+1)
		if err != nil {
			return Page{}, err
		}
		entries, more = part.entries, part.more
		if !more {
			entries = b.tail.extend(channel, s.after, entries, limit+1)
		}
		first := part.first
		switch {
		case s.after+1 >= first || s.earliest:
		case page.Gap != nil: // of another log, whose place this one takes from its first message on
			page.Gap.To = b.id(first - 1)
		default:
			page.Gap = &protocol.Gap{From: cursor, To: b.id(first - 1), Reason: protocol.GapRetention}
		}
	}
	if n := pageful(entries, limit, false); n > 0 && (n < len(entries) || more) {
		entries = entries[:n]
		page.Next = protocol.Cursor{b.id(entries[n-1].Seq)}
	}
	b.put(&page, entries)
	return page, nil
}

func (b *Broker) pageBefore(ctx context.Context, who Client, channel string, cursor protocol.Cursor, limit int) (Page, error) {
	if len(cursor) == 0 {
		return Page{}, nil
	}
	before, ok := cursor.In(b.Epoch())
	if !ok {
		return Page{Gap: &protocol.Gap{From: cursor, To: b.id(0), Reason: protocol.GapReplaced}}, nil
	}
	return b.lastPage(ctx, who, channel, min(before, b.Head().Seq+1), limit)
}

// lastPage is the page of the last limit messages before a sequence.
func (b *Broker) lastPage(ctx context.Context, who Client, channel string, before uint64, limit int) (Page, error) {
	var page Page
	entries, floor := b.tail.last(channel, before, limit+1)
	if pageful(entries, limit, true) == len(entries) && floor >= b.follower.first.Load() { // it may not be all
		older, err := b.readBefore(ctx, who, channel, min(before, floor+1), limit+1-len(entries))
		if err != nil {
			return Page{}, err
		}
		entries = append(older, entries...)
	}
	if n := pageful(entries, limit, true); n < len(entries) {
		entries = entries[len(entries)-n:]
		page.Next = protocol.Cursor{b.id(entries[0].Seq)}
	}
	b.put(&page, entries)
	return page, nil
}

// pageful is how many entries, counted from the beginning or from the end, make a page.
func pageful(entries []*Entry, limit int, fromEnd bool) (n int) {
	size := 0
	for n < min(limit, len(entries)) {
		e := entries[n]
		if fromEnd {
			e = entries[len(entries)-1-n]
		}
		if size += e.size(); size > pageBytes && n > 0 {
			break
		}
		n++
	}
	return n
}

// put puts entries into the page: messages as such, and the mark of a purge as the page's gap.
func (b *Broker) put(page *Page, entries []*Entry) {
	for _, e := range entries {
		if e.Gap {
			page.Messages = nil // read while the purge was under way
			page.Gap = &protocol.Gap{From: protocol.Cursor{}, To: b.id(e.Seq), Reason: protocol.GapPurged}
			continue
		}
		page.Messages = append(page.Messages, e)
	}
}

// page is the first limit entries of a channel after a sequence, if the tail reaches back that far.
func (t *tail) page(channel string, after uint64, limit int) (entries []*Entry, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if after < t.floor {
		return nil, false
	}
	w := t.channels[channel]
	if w == nil {
		return nil, true
	}
	i := w.after(after) - w.base
	n := min(len(w.entries)-int(i), limit)
	return append(entries, w.entries[i:int(i)+n]...), true
}

// extend adds the next limit entries that the tail holds after some that were
// read from the stored log, after a sequence and up to its end: JetStream may have
// answered from a replica that lags behind.
func (t *tail) extend(channel string, after uint64, entries []*Entry, limit int) []*Entry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	w := t.channels[channel]
	if w == nil {
		return entries
	}
	if n := len(entries); n > 0 {
		after = entries[n-1].Seq
	}
	newer := w.entries[w.after(after)-w.base:]
	return append(entries, newer[:min(len(newer), limit)]...)
}

// everything is more than any read is bounded by.
const everything = math.MaxInt

// readPage reads messages of a channel from the stored log, up to an end, until
// there are limit or they have that many bytes.
func (b *Broker) readPage(ctx context.Context, who Client, channel string, from, end uint64, limit, bytes int) (part, error) {
	release, err := b.catchUps.slot(ctx, who)
	if err != nil {
		return part{}, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	b.stats.fromLog.Add(1)
	p, err := b.read(ctx, []string{channel}, from, limit, bytes)
	if err != nil {
		return part{}, errUnreachable().Because(err)
	}
	for i, e := range p.entries {
		if e.Seq >= end {
			p.entries, p.more = p.entries[:i], false
			break
		}
	}
	return p, nil
}

// readBefore reads the last n messages of a channel before a sequence from the
// stored log, or as many as make more than a page. JetStream does not read
// backwards, so it reads as many at a time as should fit.
func (b *Broker) readBefore(ctx context.Context, who Client, channel string, before uint64, n int) ([]*Entry, error) {
	var entries []*Entry
	size := 0
	b.tail.mu.RLock()
	step := pageBytes / max(b.tail.bytes/max(len(b.tail.all.entries), 1), 1)
	b.tail.mu.RUnlock()
	for len(entries) < n && size <= pageBytes {
		step = min(max(step, 1), n-len(entries))
		from, err := b.seek(ctx, who, channel, before, step)
		if err != nil || from >= before {
			return entries, err
		}
		p, err := b.readPage(ctx, who, channel, from, before, step, 2*pageBytes)
		if err != nil {
			return nil, err
		}
		if p.more && len(p.entries) < step { // they are larger than they should be: the newest are not among them
			step /= 4
			continue
		}
		for _, e := range p.entries {
			size += e.size()
		}
		entries = append(p.entries, entries...)
		if len(p.entries) < step {
			break
		}
		before = entries[0].Seq
		step = (pageBytes-size)/(size/len(entries)) + 1
	}
	return entries, nil
}

// seek is seekBack in turn, with an error for the client.
func (b *Broker) seek(ctx context.Context, who Client, filter string, before uint64, n int) (uint64, error) {
	release, err := b.catchUps.slot(ctx, who)
	if err != nil {
		return 0, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	from, err := b.seekBack(ctx, filter, before, n)
	if err != nil {
		return 0, errUnreachable().Because(err)
	}
	return from, nil
}
