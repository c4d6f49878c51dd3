package main

// checkLimits reports limits that others make impossible, or that are never reached because of others.
func (c *config) checkLimits(r *report) {
	l := &c.Limits
	atLeastFrame := func(key string, limit size) {
		if limit < l.Frame {
			r.beside("limits.frame").wrong(key, "it must be a size of at least limits.frame, which is %s", l.Frame)
		}
	}
	atLeastFrame("stream.max_bytes", c.Stream.MaxBytes)
	atLeastFrame("limits.fanout", l.Fanout)
	if l.Pending > 0 {
		atLeastFrame("limits.pending", l.Pending)
		if l.Pending >= l.Frame && l.Pending/8 < l.Frame {
			r.beside("limits.frame").doubtful("limits.pending", "one client may have an eighth of it, which is less than one message of limits.frame, which is %s", l.Frame)
		}
	}
	if l.Batch < l.Frame {
		r.beside("limits.frame").doubtful("limits.batch", "no request can hold a message of limits.frame, which is %s: raise one, or lower the other", l.Frame)
	}
	if c.TailBytes < l.Frame {
		r.beside("limits.frame").doubtful("tail_bytes", "a message of limits.frame, which is %s, has no room in memory, and each reader reads it from the log", l.Frame)
	}
	if l.CatchUpsPerClient > c.CatchUps && r.given("limits.catch_ups_per_client") {
		r.beside("catch_ups").doubtful("limits.catch_ups_per_client", "all clients together have catch_ups, which is %d", c.CatchUps)
	}
	if l.Bodies > 0 && l.Bodies/4 < l.Batch {
		r.beside("limits.batch").doubtful("limits.bodies", "one address may have a quarter of it, which is less than one request of limits.batch, which is %s", l.Batch)
	}
	if l.RequestsPerIP > 0 && (l.AttachmentsPerIP == 0 || l.RequestsPerIP <= l.AttachmentsPerIP) {
		r.beside("limits.attachments_per_ip").doubtful("limits.requests_per_ip", "a client that is attached takes one as long as it is, unless by WebSocket, and others for its commands: stay above limits.attachments_per_ip, which is %d, or take 0 for no limit", l.AttachmentsPerIP)
	}
	for _, pair := range []struct {
		key      string
		part     int
		wholeKey string
		whole    int
	}{
		{"limits.connections_per_ip", l.ConnectionsPerIP, "limits.connections", l.Connections},
		{"limits.attachments_per_ip", l.AttachmentsPerIP, "limits.attachments", l.Attachments},
		{"limits.attachments_per_sub", l.AttachmentsPerSub, "limits.attachments", l.Attachments},
		{"limits.attaches_per_ip", l.AttachesPerIP, "limits.attaches", l.Attaches},
		{"limits.commands", l.Commands, "limits.commands_per_ip", l.CommandsPerIP},
	} {
		if pair.whole > 0 && pair.part > pair.whole {
			r.beside(pair.wholeKey).doubtful(pair.key, "it is never reached, and so one can take what is there for all: stay below %s, which is %d", pair.wholeKey, pair.whole)
		}
	}
}
