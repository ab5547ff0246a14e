package ops_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v/binding"
	"github.com/llama3v/llama3v/model/ops"
)

// refusal is a call that must be turned down, and with what.
type refusal struct {
	name  string
	want  error
	queue func(s *ops.Stream)
}

// refused holds each call to its error, to having queued nothing, and to leaving the device able to
// do the next good call as if nothing had been (P97).
func refused(t *testing.T, d *device, list []refusal) {
	t.Helper()
	x := d.floats([]float32{1, 2, 3}, 1, 3)
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			d := d.at(t)
			before, err := d.Counters()
			require.NoError(t, err)

			s := d.Stream()
			c.queue(s)
			first := s.Err()
			require.ErrorIs(t, first, c.want)
			if c.want == binding.ErrInvalidArgument || c.want == binding.ErrUnsupported {
				var e *binding.Error
				require.True(t, errors.As(first, &e), first)
				require.NotEmpty(t, e.Text, "the library says why")
			}

			// Sticky: a good op behind it does nothing.
			y := d.zeros(1, 3)
			s.CopyRows(y, x)
			require.Equal(t, first, s.Err())
			require.Equal(t, first, s.Wait())
			require.Equal(t, []float32{0, 0, 0}, d.read(y))
			after, err := d.Counters()
			require.NoError(t, err)
			require.Equal(t, before.Ops, after.Ops, "nothing ran")

			// Cleared: the next one works.
			require.NoError(t, s.Err())
			s.CopyRows(y, x)
			require.NoError(t, s.Wait())
			require.Equal(t, []float32{1, 2, 3}, d.read(y))
		})
	}
}
