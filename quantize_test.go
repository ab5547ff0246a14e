package llama3v_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
	"github.com/llama3v/llama3v/model/weights"
)

func TestWithQuantization(t *testing.T) {
	plain, small := openDemo(t), openDemo(t, llama3v.WithQuantization(weights.Q8_0))
	require.Less(t, small.Plan().Total(), plain.Plan().Total(), "the plan counts blocks")
	_, err := llama3v.Open(context.Background(), "testdata/demo", llama3v.WithQuantization(weights.F16))
	require.ErrorIs(t, err, llama3v.ErrOption)
}
