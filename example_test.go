package llama3v_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/llama3v/llama3v"
)

// The lines of the README.
func Example() {
	ctx := context.Background()
	m, err := llama3v.Open(ctx, "testdata/demo")
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	answer, err := m.Ask(ctx, "What is this?", llama3v.File("testdata/demo/pictures/dog.jpg"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
}

// An example cannot skip where there is no backend, so this runs it.
func TestExamplePrintsItsAnswer(t *testing.T) {
	openDemo(t)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = write
	Example()
	os.Stdout = stdout
	require.NoError(t, write.Close())
	out, err := io.ReadAll(read)
	require.NoError(t, err)
	require.Equal(t, "A dog.\n", string(out))
}
