package llama3v

import (
	"strings"

	"github.com/llama3v/llama3v/model/chat"
)

// Turn is one message of a conversation: who says it, and text and pictures in the order in which
// they are said.
type Turn struct {
	Role  string // "system", "user", "assistant", or what the model's template knows
	Parts []Part
}

// Part is a text, or a picture when Picture is not nil.
type Part struct {
	Text    string
	Picture *Picture
}

// Chat is a conversation that the model is to continue.
type Chat []Turn

// User is what a user says: pictures first, then the text.
func User(text string, pictures ...Picture) Turn {
	turn := Turn{Role: "user"}
	for i := range pictures {
		turn.Parts = append(turn.Parts, Part{Picture: &pictures[i]})
	}
	turn.Parts = append(turn.Parts, Part{Text: text})
	return turn
}

// System sets the conversation's frame.
func System(text string) Turn { return Turn{Role: "system", Parts: []Part{{Text: text}}} }

// Assistant is an earlier answer.
func Assistant(text string) Turn { return Turn{Role: "assistant", Parts: []Part{{Text: text}}} }

// split separates the conversation into what a template renders and the pictures in order.
func (c Chat) split() (messages []chat.Message, pictures []Picture) {
	for _, turn := range c {
		message := chat.Message{Role: turn.Role}
		for _, part := range turn.Parts {
			if part.Picture != nil {
				pictures = append(pictures, *part.Picture)
				message.Parts = append(message.Parts, chat.Part{Image: true})
			} else {
				message.Parts = append(message.Parts, chat.Part{Text: part.Text})
			}
		}
		messages = append(messages, message)
	}
	return messages, pictures
}

// silent says whether there is nothing to answer: no text but white space beside the system's.
func (c Chat) silent() bool {
	for _, turn := range c {
		for _, part := range turn.Parts {
			if turn.Role != "system" && strings.TrimSpace(part.Text) != "" {
				return false
			}
		}
	}
	return true
}
