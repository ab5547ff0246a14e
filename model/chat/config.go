package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strconv"
	"strings"

	"github.com/llama3v/llama3v/model/tokenizer"
)

const maxConfigFile = 256 << 20 // bytes; tokenizer.json is among the files

// FromFS makes the template of a model folder. [ReadConfig] says from which files.
func FromFS(fsys fs.FS) (*Template, error) {
	config, err := ReadConfig(fsys)
	if err != nil {
		return nil, err
	}
	return New(config)
}

// ReadConfig reads what a model folder says about its prompts:
//
//   - the template from chat_template.jinja, chat_template.json or tokenizer_config.json, the first
//     that has one; of several named templates the one called "default". Without any: [ErrNoTemplate],
//     and the config holds the rest;
//   - the special tokens from tokenizer_config.json's added_tokens_decoder, else from tokenizer.json;
//   - bos_token, eos_token and add_bos_token from tokenizer_config.json;
//   - the picture's token from image_token of tokenizer_config.json or processor_config.json, else the
//     token that image_token_id or image_token_index of config.json names.
func ReadConfig(fsys fs.FS) (Config, error) {
	var tc tokenizerConfig
	if _, err := readJSON(fsys, "tokenizer_config.json", &tc); err != nil {
		return Config{}, err
	}
	c := Config{BOS: string(tc.BOS), EOS: string(tc.EOS), AddBOS: tc.AddBOS}
	source, missing := readSource(fsys, &tc)
	if missing != nil && !errors.Is(missing, ErrNoTemplate) {
		return Config{}, missing
	}
	c.Source = source
	var err error
	byID := map[int64]string{}
	if c.Specials, err = readSpecials(fsys, &tc, byID); err != nil {
		return Config{}, err
	}
	if c.ImageToken, err = readImageToken(fsys, &tc, byID); err != nil {
		return Config{}, err
	}
	return c, missing
}

// tokenizerConfig is what this package reads of tokenizer_config.json.
type tokenizerConfig struct {
	BOS         tokenText             `json:"bos_token"`
	EOS         tokenText             `json:"eos_token"`
	Image       tokenText             `json:"image_token"`
	AddBOS      *bool                 `json:"add_bos_token"`
	Template    namedTemplates        `json:"chat_template"`
	AddedTokens map[string]addedToken `json:"added_tokens_decoder"`
}

type addedToken struct {
	ID      int64  `json:"id"` // in tokenizer.json; in added_tokens_decoder the id is the key
	Content string `json:"content"`
	Special bool   `json:"special"`
}

// tokenText is a token given as its text, as an object with "content", or as null.
type tokenText string

func (t *tokenText) UnmarshalJSON(data []byte) error {
	var text *string
	if err := json.Unmarshal(data, &text); err == nil {
		if text != nil {
			*t = tokenText(*text)
		}
		return nil
	}
	var object struct {
		Content *string `json:"content"`
	}
	if err := json.Unmarshal(data, &object); err != nil || object.Content == nil {
		return fmt.Errorf("a token is neither a text nor an object with content: %.60s", data)
	}
	*t = tokenText(*object.Content)
	return nil
}

// namedTemplates is a template, or a list of templates with names.
type namedTemplates map[string]string

func (n *namedTemplates) UnmarshalJSON(data []byte) error {
	var one *string
	if err := json.Unmarshal(data, &one); err == nil {
		if one != nil {
			*n = namedTemplates{defaultTemplate: *one}
		}
		return nil
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(data, &list); err != nil {
		return errors.New("chat_template is neither a text nor a list of named templates")
	}
	*n = namedTemplates{}
	for _, t := range list {
		(*n)[t.Name] = t.Template
	}
	return nil
}

const defaultTemplate = "default"

func (n namedTemplates) pick() (string, error) {
	if len(n) == 0 {
		return "", nil
	}
	source, ok := n[defaultTemplate]
	if !ok {
		names := make([]string, 0, len(n))
		for name := range n {
			names = append(names, name)
		}
		sort.Strings(names)
		return "", fmt.Errorf("%w: templates %.200q, none called %q", ErrConfig, names, defaultTemplate)
	}
	return source, nil
}

func readSource(fsys fs.FS, tc *tokenizerConfig) (string, error) {
	source, err := readFile(fsys, "chat_template.jinja")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err == nil && len(source) > 0 {
		return string(source), nil
	}
	var processor struct {
		Template namedTemplates `json:"chat_template"`
	}
	if _, err := readJSON(fsys, "chat_template.json", &processor); err != nil {
		return "", err
	}
	for _, templates := range []namedTemplates{processor.Template, tc.Template} {
		if source, err := templates.pick(); err != nil || source != "" {
			return source, err
		}
	}
	return "", ErrNoTemplate
}

// readSpecials lists the special tokens by id, and enters all added tokens in byID.
func readSpecials(fsys fs.FS, tc *tokenizerConfig, byID map[int64]string) ([]tokenizer.Special, error) {
	var all []addedToken
	for key, token := range tc.AddedTokens {
		id, err := strconv.ParseInt(key, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: tokenizer_config.json: added token with id %.20q", ErrConfig, key)
		}
		token.ID = id
		all = append(all, token)
	}
	if all == nil {
		var file struct {
			AddedTokens []addedToken `json:"added_tokens"`
		}
		if _, err := readJSON(fsys, tokenizer.FileName, &file); err != nil {
			return nil, err
		}
		all = file.AddedTokens
	}
	var specials []tokenizer.Special
	for _, token := range all {
		if token.ID < 0 || int64(int32(token.ID)) != token.ID {
			return nil, fmt.Errorf("%w: added token %.40q has id %d", ErrConfig, token.Content, token.ID)
		}
		byID[token.ID] = token.Content
		if token.Special {
			specials = append(specials, tokenizer.Special{ID: int32(token.ID), Text: token.Content})
		}
	}
	sort.Slice(specials, func(i, j int) bool { return specials[i].ID < specials[j].ID })
	return specials, nil
}

func readImageToken(fsys fs.FS, tc *tokenizerConfig, byID map[int64]string) (string, error) {
	if tc.Image != "" {
		return string(tc.Image), nil
	}
	var processor struct {
		Image tokenText `json:"image_token"`
	}
	if _, err := readJSON(fsys, "processor_config.json", &processor); err != nil {
		return "", err
	}
	if processor.Image != "" {
		return string(processor.Image), nil
	}
	var model struct {
		ID    *int64 `json:"image_token_id"`
		Index *int64 `json:"image_token_index"`
	}
	if _, err := readJSON(fsys, "config.json", &model); err != nil {
		return "", err
	}
	for _, id := range []*int64{model.ID, model.Index} {
		if id != nil && byID[*id] != "" {
			return byID[*id], nil
		}
	}
	return "", nil // text only, or a place-holder id outside the vocabulary that names no text
}

// readJSON reads a file that need not be there; found says whether it is.
func readJSON(fsys fs.FS, name string, into any) (found bool, err error) {
	data, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return true, fmt.Errorf("%w: %s: %s", ErrConfig, name, strings.TrimPrefix(err.Error(), "json: "))
	}
	return true, nil
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("chat: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, fmt.Errorf("chat: reading %s: %w", name, err)
	}
	if len(data) > maxConfigFile {
		return nil, fmt.Errorf("%w: %s: larger than %d bytes", ErrConfig, name, maxConfigFile)
	}
	return data, nil
}
