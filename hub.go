package llama3v

import (
	"context"

	"github.com/llama3v/llama3v/hub"
)

// WithHub sets the client that fetches models named hf:ORG/NAME. The default is
// hub.FromEnvironment: the cache, token, address and offline mode of the Hugging Face tools.
func WithHub(client *hub.Client) Option {
	return func(c *config) error { c.hub = client; return nil }
}

// local gives the path of a model's files; those of a name of the hub it fetches first.
func local(ctx context.Context, path string, opts []Option) (string, error) {
	if !hub.IsRef(path) {
		return path, nil
	}
	ref, err := hub.Parse(path)
	if err != nil {
		return "", err
	}
	c, err := newConfig(opts)
	if err != nil {
		return "", err
	}
	client := c.hub
	if client == nil {
		client = hub.FromEnvironment()
	}
	return client.Pull(ctx, ref)
}
