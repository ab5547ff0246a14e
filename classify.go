package llama3v

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/llama3v/llama3v/model/siglip"
)

// DefaultTemplate is the text that Classify makes of a label unless told otherwise, as the reference
// pipeline does.
const DefaultTemplate = "This is a photo of %s."

// Label is one label's score for one picture.
type Label struct {
	Text        string  `json:"label"`
	Index       int     `json:"index"`       // among the labels of the call
	Probability float32 `json:"probability"` // of the label for itself: a picture's do not add up to 1
	Logit       float32 `json:"logit"`       // its sigmoid is the probability
}

// ClassifyOption sets how Classify works.
type ClassifyOption func(*classifyConfig) error

type classifyConfig struct {
	templates []string
	inOrder   bool
}

// Templates are the texts that are made of a label, which takes the place of %s in each. With several,
// a label's embedding is the mean of their normalised embeddings, normalised again (the prompt ensemble
// of CLIP, Radford et al. 2021, arXiv:2103.00020, section 3.1.4).
func Templates(list ...string) ClassifyOption {
	return func(c *classifyConfig) error {
		if len(list) == 0 {
			return fmt.Errorf("%w: no templates", ErrOption)
		}
		for _, t := range list {
			if strings.Count(t, "%s") != 1 {
				return fmt.Errorf("%w: template %q must have %%s once, where the label goes", ErrOption, t)
			}
		}
		c.templates = list
		return nil
	}
}

// LabelsInOrder gives a picture's labels in the order of the call; otherwise the most probable comes
// first.
func LabelsInOrder() ClassifyOption {
	return func(c *classifyConfig) error { c.inOrder = true; return nil }
}

// Classify scores pictures against labels, such as "a cat": for each picture, every label with its
// probability. Each probability stands for itself: none, one or several labels may fit.
//
// Errors: those of EncodeImages and EncodeTexts, among them ErrUnsupported for a model without a text
// tower or without a pooling head and ErrEmptyText for a label without a letter; ErrOption.
func (m *Model) Classify(ctx context.Context, pictures []Picture, labels []string, opts ...ClassifyOption) ([][]Label, error) {
	c := &classifyConfig{templates: []string{DefaultTemplate}}
	for _, opt := range opts {
		if err := opt(c); err != nil {
			return nil, fmt.Errorf("classify: %w", err)
		}
	}
	if err := m.hasWords(); err != nil {
		return nil, fmt.Errorf("classify: %w", err)
	}
	texts, err := m.encodeLabels(ctx, labels, c.templates)
	if err != nil {
		return nil, fmt.Errorf("classify: %w", err)
	}
	features, err := m.EncodeImages(ctx, pictures, Pooled())
	if err != nil {
		return nil, fmt.Errorf("classify: %w", err)
	}
	scores, err := m.Similarity(features, texts)
	if err != nil {
		return nil, fmt.Errorf("classify: %w", err)
	}
	logits, probabilities := scores.Logits.Data().([]float32), scores.Probabilities.Data().([]float32)
	all := make([][]Label, len(pictures))
	for i := range all {
		row := make([]Label, len(labels))
		for j, text := range labels {
			at := i*len(labels) + j
			row[j] = Label{Text: text, Index: j, Probability: probabilities[at], Logit: logits[at]}
		}
		if !c.inOrder { // by logit: probabilities near 1 round to one number
			slices.SortStableFunc(row, func(a, b Label) int { return cmp.Compare(b.Logit, a.Logit) })
		}
		all[i] = row
	}
	return all, nil
}

// encodeLabels gives the embedding of each label [labels, dim], the mean over the templates.
func (m *Model) encodeLabels(ctx context.Context, labels, templates []string) (*tensor.Dense, error) {
	if len(labels) == 0 {
		return nil, fmt.Errorf("%w: no labels", ErrShape)
	}
	var texts []string
	for i, label := range labels {
		if strings.TrimSpace(label) == "" { // a template would hide it
			return nil, fmt.Errorf("label %d: %w", i+1, ErrEmptyText)
		}
		for _, template := range templates {
			texts = append(texts, strings.Replace(template, "%s", label, 1))
		}
	}
	embeddings, err := m.EncodeTexts(ctx, texts)
	if err != nil || len(templates) == 1 {
		return embeddings, err
	}
	dim := m.model.Config.Words.Out
	rows, err := siglip.Directions(embeddings.Data().([]float32), dim)
	if err != nil {
		return nil, fmt.Errorf("text %w", err)
	}
	means := make([]float32, len(labels)*dim)
	for i := range texts {
		mean := means[i/len(templates)*dim:][:dim]
		for k, v := range rows[i*dim:][:dim] {
			mean[k] += v / float32(len(templates))
		}
	}
	return tensor.New(tensor.WithShape(len(labels), dim), tensor.WithBacking(means)), nil
}
