package llama3v

import "time"

// Answer is what the model said, and how it came about.
type Answer struct {
	Text         string
	TokenIDs     []int32 // what was generated, the stop id included
	PromptTokens int     // positions of the prompt, pictures' positions included
	ImageTokens  int     // of these, filled by pictures
	ReusedTokens int     // of these, not computed: an earlier prompt began the same way
	FinishReason FinishReason
	StopID       int32           // the id that ended it, where FinishReason is FinishStop
	StopText     string          // the text that ended it, where FinishReason is FinishStopText
	Sampled      bool            // the tokens were drawn, not the likeliest each
	Seed         uint64          // that they were drawn with
	LogProbs     []TokenLogProbs // one per token, where they were asked for
	Pictures     []PictureUse    // one per picture, in order
	Backend      Backend
	Timings      Timings
}

// String is the text.
func (a *Answer) String() string { return a.Text }

// FinishReason says why generation ended.
type FinishReason string

const (
	FinishStop     FinishReason = "stop"      // the model ended its turn, or a stop id came
	FinishStopText FinishReason = "stop_text" // a stop text came; it and what follows is not part of Text
	FinishLength   FinishReason = "length"    // MaxTokens were made, or the context is full
)

// TokenLogProbs are the natural logarithms of the probabilities that the model gives the tokens of one
// place: its own, before temperature, top-k, top-p, min-p and penalties.
type TokenLogProbs struct {
	Token LogProb
	Top   []LogProb // the likeliest, largest first, the lower id first among equals
}

// LogProb is a token of TokenLogProbs.
type LogProb struct {
	ID      int32
	Text    string // its bytes, which may be part of a character
	LogProb float64
}

// PictureUse says how a picture of the request was used.
type PictureUse struct {
	Width, Height int  // upright, before resizing
	Views         int  // that it was looked at in: the whole picture, tiles, slices
	Tokens        int  // positions it filled
	Cached        bool // its features came from the in-memory cache
}

// Timings are the stages of one request. Encode, Project and Prefill are the device's own time;
// the others are the host's clock.
type Timings struct {
	Load       time.Duration // reading the model, once, at Open
	Preprocess time.Duration // decoding, resizing and normalising pictures
	Encode     time.Duration // vision tower
	Project    time.Duration
	Prefill    time.Duration // prompt, up to the first token
	Decode     time.Duration // the tokens after the first
	Tokens     int           // that Decode made
}

// DecodeRate is tokens per second of Decode, 0 when nothing was decoded.
func (t Timings) DecodeRate() float64 {
	if t.Decode <= 0 {
		return 0
	}
	return float64(t.Tokens) / t.Decode.Seconds()
}

// Token is one step of Generate: a token and the text that it completed, which may be empty (a
// character can span tokens, and text that may begin a stop is held back). The last one carries
// the Answer.
type Token struct {
	ID       int32
	Text     string
	LogProbs *TokenLogProbs // nil unless asked for
	Answer   *Answer        // set on the last token only
}
