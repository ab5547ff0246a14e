package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/llama3v/llama3v"
)

// messages is a conversation in the form that chat services take: roles, and content that is a text or a list
// of parts,
//
//	{"type": "text", "text": "..."}
//	{"type": "image", "image": PICTURE}        "path" and "url" are read, too
//	{"type": "image_url", "image_url": {"url": PICTURE}}
//
// PICTURE is a data URL, or the path of a file with "image" and "path". No other URL is opened or fetched.
type messages []message

type message struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is the parts of a message; a text alone is one part.
type content []contentPart

type contentPart struct {
	Type     string          `json:"type"`
	Text     *string         `json:"text"`
	Image    *string         `json:"image"`
	Path     *string         `json:"path"`
	URL      *string         `json:"url"`
	ImageURL json.RawMessage `json:"image_url"` // a text, or {"url": text}
}

func (c *content) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*c = content{{Type: "text", Text: &text}}
		return nil
	}
	var list []contentPart
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("content is neither a text nor a list of parts: %w", err)
	}
	*c = list
	return nil
}

// conversation turns messages into a Chat, behind the system text of the flags where they have none of
// their own.
func (f *runFlags) conversation(list messages) (llama3v.Chat, error) {
	if len(list) == 0 {
		return nil, errors.New(`"messages" is empty`)
	}
	var chat llama3v.Chat
	if f.system != "" && list[0].Role != "system" {
		chat = append(chat, llama3v.System(f.system))
	}
	for i, m := range list {
		if m.Role == "" {
			return nil, fmt.Errorf("message %d has no role", i+1)
		}
		turn := llama3v.Turn{Role: m.Role}
		for k, p := range m.Content {
			part, err := p.part()
			if err != nil {
				return nil, fmt.Errorf("message %d, part %d: %w", i+1, k+1, err)
			}
			turn.Parts = append(turn.Parts, part)
		}
		chat = append(chat, turn)
	}
	return chat, nil
}

func (p contentPart) part() (llama3v.Part, error) {
	switch p.Type {
	case "text":
		if p.Text == nil {
			return llama3v.Part{}, errors.New(`a text part without "text"`)
		}
		return llama3v.Part{Text: *p.Text}, nil
	case "image", "image_url":
		picture, err := p.picture()
		return llama3v.Part{Picture: &picture}, err
	}
	return llama3v.Part{}, fmt.Errorf("type %q (text, image, image_url)", p.Type)
}

// picture reads the one source that the part has.
func (p contentPart) picture() (llama3v.Picture, error) {
	url := p.URL
	if p.ImageURL != nil {
		var object struct {
			URL *string `json:"url"`
		}
		var text *string
		if json.Unmarshal(p.ImageURL, &text) != nil && json.Unmarshal(p.ImageURL, &object) == nil {
			text = object.URL
		}
		if text == nil {
			return llama3v.Picture{}, errors.New(`"image_url" is neither a text nor an object with "url"`)
		}
		url = text
	}
	given := 0
	for _, source := range []*string{p.Image, p.Path, url} {
		if source != nil {
			given++
		}
	}
	if given != 1 || p.URL != nil && p.ImageURL != nil {
		return llama3v.Picture{}, errors.New(`a picture has one of "image", "path", "url" and "image_url"`)
	}
	switch {
	case url != nil:
		if !isData(*url) {
			return llama3v.Picture{}, fmt.Errorf("%w: %.60q: of URLs, data URLs are read; nothing is fetched", llama3v.ErrPictureUnsupported, *url)
		}
		return llama3v.Base64(*url), nil
	case p.Path != nil:
		return fileOrData(*p.Path)
	}
	return fileOrData(*p.Image)
}

// fileOrData is the picture of a path or a data URL.
func fileOrData(text string) (llama3v.Picture, error) {
	switch {
	case isData(text):
		return llama3v.Base64(text), nil
	case strings.Contains(text, "://"), strings.HasPrefix(text, "//"):
		return llama3v.Picture{}, fmt.Errorf("%w: %.60q looks like a URL; pictures are files or data URLs, nothing is fetched", llama3v.ErrPictureUnsupported, text)
	}
	return llama3v.File(text), nil
}

func isData(text string) bool { return len(text) >= 5 && strings.EqualFold(text[:5], "data:") }
