package admission

import "github.com/fairlead/fairlead/protocol"

// Read takes a reading of the stored log for c. The caller calls done.
func (d *Door) Read(c Client) (done func(), err error) {
	if !d.reads.enter(c.IP) {
		return nil, d.refuse("reads_per_ip", protocol.RateLimited, busyWait, "%d pages are being read for your address, as many as may be at a time: wait", d.Limits().ReadsPerIP)
	}
	return func() { d.reads.leave(c.IP) }, nil
}
