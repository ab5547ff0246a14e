package ops

import "context"

// Cancel stops the work that is queued or running, between two ops. The next call that waits
// returns binding.ErrCancelled and clears the request, whether or not anything was stopped. It does
// not wait, and may be called from any goroutine; after Close it does nothing.
func (d *Device) Cancel() {
	// The one error is that the context is closed: then there is nothing to stop.
	_ = d.context.Cancel()
}

// CancelOn has the end of ctx cancel the device's work, until stop is called. Stop waits for a
// Cancel in flight, and when ctx has ended it waits for the device and clears a request that no
// other call has met, so that the next work is not hit. A second stop does nothing.
func (d *Device) CancelOn(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	cancelled := make(chan struct{})
	disarm := context.AfterFunc(ctx, func() {
		d.Cancel()
		close(cancelled)
	})
	stopped := false
	return func() {
		if stopped {
			return
		}
		stopped = true
		if disarm() {
			return
		}
		<-cancelled
		// What it returns belongs to work that ctx's end has made worthless: it was cancelled.
		_ = d.context.Synchronize()
	}
}
