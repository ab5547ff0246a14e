// Package chat renders a conversation with the model's own chat template and turns it into ids.
//
// Templates are Jinja, run by gonja. What a template renders is taken apart again: the special
// tokens and picture places that the template wrote become structure, everything else is text that is
// encoded with special parsing off. Text that comes from a message can never become structure,
// whatever it spells (see mark.go), and a picture is a place in the list and never an id, so no id
// can be mistaken for one.
package chat

import "time"

// Part is a piece of a message: text, or with Image set the place of the next picture.
type Part struct {
	Text  string
	Image bool
}

// Message is what one side says. Roles are those that the template knows: "system", "user",
// "assistant".
type Message struct {
	Role  string
	Parts []Part
}

// Text is a message of text alone.
func Text(role, text string) Message { return Message{Role: role, Parts: []Part{{Text: text}}} }

// Options are the values that a template takes besides the messages.
type Options struct {
	// AddGenerationPrompt ends the prompt where the model's answer starts.
	AddGenerationPrompt bool

	// Date is the template's date_string, which Llama 3.1 templates put in the system message.
	// Empty leaves it undefined: such templates then take Now, or a date of their own.
	Date string

	// Now is the time that strftime_now formats. The zero time leaves the function undefined, so
	// that a prompt does not change from day to day unless the caller wants it to.
	Now time.Time
}

// size counts what a conversation holds: messages and parts, and bytes of text.
func size(messages []Message) (parts, bytes int) {
	for _, m := range messages {
		parts += 1 + len(m.Parts)
		bytes += len(m.Role)
		for _, p := range m.Parts {
			bytes += len(p.Text)
		}
	}
	return parts, bytes
}
