// Package tokenizer turns text into the ids of a model's vocabulary and back.
//
// [Load] reads a model folder's tokenizer.json in pure Go: byte-level BPE as Llama 3 and SmolLM2 use
// it. Package daulet beneath it has the same interface over the Rust library that such files come
// from. Both give the same ids; tests hold them to it.
//
// Encoding never parses special tokens: "<|eot_id|>" in a text is eight or so ordinary tokens. What
// marks structure (turns, the place of a picture) is put in as an id by package chat, so no text that
// a user types can become structure.
package tokenizer

// Tokenizer is a vocabulary with its splitting and merging rules. It is safe for many goroutines.
type Tokenizer interface {
	// Encode gives the ids of text: no start token, special parsing off. Bytes that are not UTF-8
	// are read as U+FFFD, one for each cut-off sequence, as [ToValidUTF8] does.
	Encode(text string) ([]int32, error)

	// Decode gives the text of ids as it is, with no clean-up of spaces; bytes that form no
	// character come out as U+FFFD. With skipSpecial the special tokens are left out, otherwise they
	// are shown as their text. An id outside the vocabulary is an [UnknownIDError].
	Decode(ids []int32, skipSpecial bool) (string, error)

	// TokenBytes gives the bytes that id stands for, which need not be whole characters; a special
	// token's bytes are its text. The caller must not change them.
	TokenBytes(id int32) ([]byte, error)

	// Specials lists the special tokens by rising id. The caller must not change it.
	Specials() []Special

	// VocabSize is one more than the largest id: the number of rows that an embedding table needs.
	VocabSize() int
}

// Special is a token that marks structure, such as the end of a turn, rather than text.
type Special struct {
	ID   int32
	Text string
}
