package admission

import "github.com/fairlead/fairlead/protocol"

// Upload takes a request of c whose body lasts, with messages that are stored as
// they come. Who is trusted streams for many and may have any number. The caller
// calls done.
func (d *Door) Upload(c Client) (done func(), err error) {
	if c.Trusted {
		return func() {}, nil
	}
	of := c.who()
	if !d.bodies.uploads.enter(of) {
		return nil, d.refuse("uploads_per_client", protocol.RateLimited, fullWait, "you send %d streams of messages, as many as you may at a time: end some", d.Limits().UploadsPerClient)
	}
	return func() { d.bodies.uploads.leave(of) }, nil
}
