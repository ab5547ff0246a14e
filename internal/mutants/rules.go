package mutants

import (
	"fmt"
	"slices"
	"strings"
)

// writer walks the device functions of one file and puts the choice of each mutant into its text:
// edits are text before a token, behind one, or instead of one.
type writer struct {
	file    string
	text    string
	lines   []string
	tokens  []token
	pair    []int
	next    int // the next mutant's number
	found   []Mutant
	spans   []span
	instead map[int]string
	err     error
}

// span puts text around the tokens [begin, end).
type span struct {
	begin, end    int
	before, after string
}

func (w *writer) at(i int) string {
	if i < 0 || i >= len(w.tokens) {
		return ""
	}
	return w.tokens[i].text
}

// source is the text of the tokens [begin, end), on one line.
func (w *writer) source(begin, end int) string {
	return strings.Join(strings.Fields(w.text[w.tokens[begin].begin:w.tokens[end-1].end]), " ")
}

// add makes a mutant of what begins at a token.
func (w *writer) add(at int, what string, args ...any) int {
	line := w.tokens[at].line
	w.found = append(w.found, Mutant{Number: w.next, File: w.file, Line: line,
		Text: strings.TrimSpace(w.lines[line-1]), Mutation: fmt.Sprintf(what, args...)})
	w.next++
	return w.next - 1
}

func (w *writer) around(begin, end int, before, after string) {
	w.spans = append(w.spans, span{begin, end, before, after})
}

func (w *writer) fail(at int, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%s:%d: %s", w.file, w.tokens[at].line, fmt.Sprintf(format, args...))
	}
}

// rewritten is the file's text with all edits.
func (w *writer) rewritten() string {
	before, after := make([]string, len(w.tokens)), make([]string, len(w.tokens))
	// A span inside another is written first. Of two alike the one found first is the outer one.
	slices.Reverse(w.spans)
	slices.SortStableFunc(w.spans, func(a, b span) int { return (a.end - a.begin) - (b.end - b.begin) })
	for _, s := range w.spans {
		before[s.begin] = s.before + before[s.begin]
		after[s.end-1] += s.after
	}
	var out strings.Builder
	last := 0
	for i, t := range w.tokens {
		out.WriteString(w.text[last:t.begin])
		out.WriteString(before[i])
		if instead, ok := w.instead[i]; ok {
			out.WriteString(instead)
		} else {
			out.WriteString(t.text)
		}
		out.WriteString(after[i])
		last = t.end
	}
	out.WriteString(w.text[last:])
	return out.String()
}

// functions walks the bodies of the file's device functions: those marked __device__ or __global__
// that are no constants.
func (w *writer) functions() {
	for i := 0; i < len(w.tokens); i++ {
		if t := w.at(i); t != "__device__" && t != "__global__" {
			continue
		}
		constant := false
		for j := i - 1; j >= 0 && !slices.Contains([]string{";", "}", "{", ">"}, w.at(j)); j-- {
			constant = constant || w.at(j) == "constexpr"
		}
		j := i + 1
		for ; j < len(w.tokens) && w.at(j) != "{" && w.at(j) != ";" && w.at(j) != "="; j++ {
			constant = constant || w.at(j) == "constexpr"
			if w.at(j) == "(" {
				j = w.pair[j]
			}
		}
		if w.at(j) == "{" && !constant {
			w.block(j+1, w.pair[j])
			i = w.pair[j]
		} else {
			i = j
		}
	}
}

// block walks the statements in [i, end).
func (w *writer) block(i, end int) {
	for i < end && w.err == nil {
		i = w.statement(i)
	}
}

// Statements whose parts are constants of the compiler, or no code.
var constants = []string{"constexpr", "static_assert", "using", "typedef", "asm", "struct", "enum", "L3V_SHARED"}

// statement walks the one that begins at i and returns where the next begins.
func (w *writer) statement(i int) int {
	switch t := w.at(i); t {
	case "{":
		w.block(i+1, w.pair[i])
		return w.pair[i] + 1
	case ";":
		return i + 1
	case "if", "while", "switch":
		open := i + 1
		constant := w.at(open) == "constexpr"
		if constant {
			open++
		}
		inner := open + 1
		for j := inner; j < w.pair[open]; j++ { // if (declaration; condition)
			if w.at(j) == "(" {
				j = w.pair[j]
			} else if w.at(j) == ";" {
				w.simple(inner, j)
				inner = j + 1
			}
		}
		switch {
		case constant:
		case t == "switch":
			w.expression(inner, w.pair[open])
		default:
			w.condition(inner, w.pair[open])
		}
		next := w.statement(w.pair[open] + 1)
		if t == "if" && w.at(next) == "else" {
			return w.statement(next + 1)
		}
		return next
	case "for":
		w.loop(i+2, w.pair[i+1])
		return w.statement(w.pair[i+1] + 1)
	case "do":
		next := w.statement(i + 1)
		w.condition(next+2, w.pair[next+1])
		return w.pair[next+1] + 2
	case "case", "default":
		for w.at(i) != ":" {
			i++
		}
		return i + 1
	}
	end := i
	for end < len(w.tokens) && w.at(end) != ";" {
		if w.pair[end] > end {
			end = w.pair[end]
		}
		end++
	}
	if end == len(w.tokens) {
		w.fail(i, "a statement has no end")
		return end
	}
	if !slices.Contains(constants, w.at(i)) && !(w.at(i) == "static" && w.at(i+1) == "constexpr") {
		w.dropped(i, end)
		w.simple(i, end)
	}
	return end + 1
}

// dropped: a statement that is one call is left out; a wait<n> waits for less.
func (w *writer) dropped(i, end int) {
	if w.at(end-1) != ")" || !w.tokens[i].word || w.at(i) == "return" || w.at(i) == "memcpy" {
		return
	}
	open := w.pair[end-1]
	list := -1 // where its template arguments begin
	for j := i; j < open; j++ {
		if w.at(j) == "(" || w.at(j) == "[" {
			j = w.pair[j]
			continue
		}
		if w.template(j) {
			list = j
			if j = w.templateEnd(j); w.tokens[j+1].word {
				return // a declaration
			}
			continue
		}
		if j > i && w.tokens[j].word && w.tokens[j-1].word || w.at(j) == "*" || w.at(j) == "&" || slices.Contains(assignments, w.at(j)) {
			return // a declaration, or an assignment
		}
	}
	choice := fmt.Sprintf("(%s::is(%d) ? (void)0 : ", space, w.add(i, "drop %s", w.source(i, end)))
	if list >= 0 && strings.Contains(w.source(i, list), "wait") {
		less := w.add(i, "%s, one fewer", w.source(i, end))
		choice += fmt.Sprintf("%s::is(%d) ? (void)(%s<(%s) + 1>%s) : ", space, less,
			w.source(i, list), w.source(list+1, w.templateEnd(list)), w.source(open, end))
	}
	w.around(i, end, choice+"(void)(", "))")
}

// loop walks what stands in the brackets of a for: [begin, end).
func (w *writer) loop(begin, end int) {
	var parts []int
	for j := begin; j < end; j++ {
		if w.pair[j] > j {
			j = w.pair[j]
		} else if w.at(j) == ";" {
			parts = append(parts, j)
		} else if w.at(j) == ":" {
			return // over a range
		}
	}
	if len(parts) != 2 {
		w.fail(begin, "a for that is none")
		return
	}
	first, second := parts[0], parts[1]
	w.simple(begin, first)
	if n := w.top(begin, first, "="); len(n) == 1 && n[0]+1 < first {
		w.shift(n[0]+1, first, "begin %s")
	}
	if first+1 < second {
		w.boolean(first+1, second, false)
	}
	w.expression(second+1, end)
	for _, op := range []string{"+=", "-="} {
		if n := w.top(second+1, end, op); len(n) == 1 {
			w.shift(n[0]+1, end, "step %s")
		}
	}
}

// declaration says whether [begin, end) declares a variable, and where its name is.
func (w *writer) declaration(begin, end int) (name int, ok bool) {
	i := begin
	for slices.Contains([]string{"const", "static", "volatile", "unsigned", "typename"}, w.at(i)) {
		i++
	}
	if i == end || !w.tokens[i].word && w.at(i) != "::" {
		return 0, i > begin
	}
	if w.at(begin) != "unsigned" || w.at(i) == "long" || w.at(i) == "int" {
		for i < end && (w.tokens[i].word && (w.at(i+1) == "::" || w.at(i+1) == "long" || w.at(i+1) == "int") || w.at(i) == "::") {
			i++
		}
		if i++; i < end && w.template(i-1+1) {
			i = w.templateEnd(i) + 1
			for i < end && w.at(i) == "::" { // a type within it
				i += 2
			}
		}
	}
	for w.at(i) == "*" || w.at(i) == "&" || w.at(i) == "const" || w.at(i) == "__restrict__" {
		i++
	}
	if i >= end || !w.tokens[i].word || w.at(begin) == "return" {
		return 0, false
	}
	return i, i > begin
}

// simple walks a declaration or an expression statement.
func (w *writer) simple(begin, end int) {
	if w.at(begin) == "return" {
		if begin+1 < end {
			w.expression(begin+1, end)
		}
		return
	}
	if w.at(begin) == "break" || w.at(begin) == "continue" || begin >= end {
		return
	}
	name, declares := w.declaration(begin, end)
	if !declares {
		w.expression(begin, end)
		return
	}
	// Each declarator: sizes of arrays are constants, what is behind "=" or in brackets is code.
	for i := name; i < end; i++ {
		switch w.at(i) {
		case "[":
			i = w.pair[i]
		case "(", "{":
			w.list(i)
			i = w.pair[i]
		case "=":
			stop := i + 1
			for stop < end && w.at(stop) != "," {
				if w.pair[stop] > stop {
					stop = w.pair[stop]
				} else if w.template(stop) {
					stop = w.templateEnd(stop)
				}
				stop++
			}
			w.expression(i+1, stop)
			i = stop - 1
		}
	}
}

// template: whether i begins a list of template arguments. Comparisons have spaces around them.
func (w *writer) template(i int) bool {
	return w.at(i) == "<" && !w.tokens[i].spaced && i > 0 && w.tokens[i-1].word
}

func (w *writer) templateEnd(i int) int {
	depth := 0
	for j := i; j < len(w.tokens); j++ {
		switch w.at(j) {
		case "<":
			depth++
		case ">":
			depth--
		case ">>":
			depth -= 2
		case "(", "[", "{":
			j = w.pair[j]
		}
		if depth <= 0 {
			return j
		}
	}
	w.fail(i, "template arguments without an end")
	return len(w.tokens) - 1
}

// top finds operators in [begin, end) that no bracket encloses.
func (w *writer) top(begin, end int, operators ...string) []int {
	var found []int
	for i := begin; i < end; i++ {
		switch {
		case w.pair[i] > i:
			i = w.pair[i]
		case w.template(i):
			i = w.templateEnd(i)
		case slices.Contains(operators, w.at(i)):
			if slices.Contains([]string{"&", "*", "-", "+"}, w.at(i)) && !w.operand(i-1, begin) {
				continue // of one operand
			}
			found = append(found, i)
		}
	}
	return found
}

// operand: whether an operand ends at i.
func (w *writer) operand(i, begin int) bool {
	return i >= begin && (w.tokens[i].word && w.at(i) != "return" || digit(w.at(i)[0]) || w.at(i) == ")" || w.at(i) == "]")
}

var assignments = []string{"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}

// expression walks one, in the order of C++'s precedence.
func (w *writer) expression(begin, end int) {
	if begin >= end || w.err != nil {
		return
	}
	if n := w.top(begin, end, ","); len(n) > 0 {
		w.split(begin, end, n, w.expression)
		return
	}
	question := w.top(begin, end, "?")
	if n := w.top(begin, end, assignments...); len(n) > 0 && (len(question) == 0 || n[0] < question[0]) {
		w.leaf(begin, n[0])
		w.expression(n[0]+1, end)
		return
	}
	if len(question) > 0 {
		q, depth := question[0], 0
		for i := q; i < end; i++ {
			if w.pair[i] > i {
				i = w.pair[i]
			} else if w.at(i) == "?" {
				depth++
			} else if w.at(i) == ":" {
				if depth--; depth == 0 {
					w.condition(begin, q)
					w.expression(q+1, i)
					w.expression(i+1, end)
					return
				}
			}
		}
		w.fail(q, "a ? without its :")
		return
	}
	if len(w.top(begin, end, "||", "&&", "==", "!=", "<", ">", "<=", ">=")) > 0 {
		w.boolean(begin, end, true)
		return
	}
	w.leaf(begin, end)
}

func (w *writer) split(begin, end int, at []int, walk func(begin, end int)) {
	for _, n := range append(at, end) {
		walk(begin, n)
		begin = n + 1
	}
}

// condition: of an if, a while or a ternary.
func (w *writer) condition(begin, end int) {
	if _, declares := w.declaration(begin, end); declares && len(w.top(begin, end, "=")) > 0 {
		w.simple(begin, end)
		return
	}
	w.boolean(begin, end, true)
}

// boolean walks a condition. Each part of it is held true and held false; alone is false where that
// would only make a loop endless, or none.
func (w *writer) boolean(begin, end int, alone bool) {
	if len(w.top(begin, end, "?")) > 0 || len(w.top(begin, end, assignments...)) > 0 {
		w.expression(begin, end)
		return
	}
	for _, op := range []string{"||", "&&"} {
		if n := w.top(begin, end, op); len(n) > 0 {
			w.split(begin, end, n, func(begin, end int) { w.boolean(begin, end, true) })
			return
		}
	}
	if begin+1 < end && w.at(begin) == "(" && w.pair[begin] == end-1 {
		w.boolean(begin+1, end-1, alone)
		return
	}
	if w.at(begin) == "!" && w.at(begin+1) == "(" && w.pair[begin+1] == end-1 {
		w.boolean(begin+2, end-1, alone)
		return
	}
	if alone {
		t, f := w.add(begin, "%s: true", w.source(begin, end)), w.add(begin, "%s: false", w.source(begin, end))
		w.around(begin, end, fmt.Sprintf("%s::force(%d, %d, static_cast<bool>(", space, t, f), "))")
	}
	if n := w.top(begin, end, "<", ">", "<=", ">="); len(n) == 1 && len(w.top(begin, end, "|", "&", "^", "==", "!=")) == 0 {
		w.leaf(begin, n[0])
		w.leaf(n[0]+1, end)
		up := w.add(begin, "%s: +1", w.source(begin, end))
		down := w.add(begin, "%s: -1", w.source(begin, end))
		w.around(n[0]+1, end, fmt.Sprintf("%s::shift(%d, %d, ", space, up, down), ")")
		return
	}
	if n := w.top(begin, end, "==", "!="); len(n) == 1 {
		w.leaf(begin, n[0])
		w.leaf(n[0]+1, end)
		return
	}
	w.leaf(begin, end)
}

// shift makes a value one larger.
func (w *writer) shift(begin, end int, what string) {
	n := w.add(begin, what+": +1", w.source(begin, end))
	w.around(begin, end, fmt.Sprintf("%s::shift(%d, 0, ", space, n), ")")
}

// Accessors whose argument is an index.
var accessors = []string{"f32", "i32", "u8", "bf16", "f16"}

var opposite = map[string]string{"min": "max", "max": "min", "fminf": "fmaxf", "fmaxf": "fminf"}

// leaf walks operands: subscripts, calls, lambdas.
func (w *writer) leaf(begin, end int) {
	for i := begin; i < end && w.err == nil; i++ {
		switch t := w.at(i); {
		case t == "sizeof" || t == "alignof" || t == "decltype":
			if i++; w.pair[i] > i {
				i = w.pair[i]
			} else {
				return // of what has no brackets
			}
		case w.template(i):
			i = w.templateEnd(i)
		case t == "[" && !w.operand(i-1, begin):
			i = w.lambda(i)
		case t == "[":
			w.index(i, "")
			i = w.pair[i]
		case t == "(":
			w.call(i)
			i = w.pair[i]
		case t == "{":
			w.list(i)
			i = w.pair[i]
		case opposite[t] != "" && w.at(i+1) == "(":
			n := w.add(i, "%s: %s", w.source(i, w.pair[i+1]+1), opposite[t])
			w.instead[i] = fmt.Sprintf("%s::swap_%s", space, t)
			w.around(i+2, w.pair[i+1], fmt.Sprintf("%d, ", n), "")
		case w.stage(i, begin, end):
			n := w.add(i, "the other %s", t)
			w.around(i, i+1, fmt.Sprintf("%s::other(%d, ", space, n), ")")
		}
	}
}

// index shifts what stands in the brackets at i.
func (w *writer) index(i int, name string) {
	w.expression(i+1, w.pair[i])
	w.shift(i+1, w.pair[i], "index "+name+"%s")
}

// call walks the arguments of the bracket at i, if it is one of a call.
func (w *writer) call(i int) {
	name := w.at(i - 1)
	shuffles := strings.HasPrefix(name, "__shfl") || name == "__ballot_sync"
	if slices.Contains(accessors, name) && w.pair[i] > i+1 {
		w.index(i, name+" ")
		return
	}
	w.list(i)
	if !shuffles {
		return
	}
	commas := w.top(i+1, w.pair[i], ",")
	mask := w.add(i-1, "%s: a lane off the mask", w.source(i-1, w.pair[i]+1))
	w.around(i+1, commas[0], fmt.Sprintf("%s::other(%d, ", space, mask), ")")
	if len(commas) >= 2 {
		last := w.pair[i]
		if len(commas) > 2 {
			last = commas[2]
		}
		// A sum over lanes 16, 8, 4, 2 and 1 apart is as right with 17 for 16: the lowest bit it is.
		n := w.add(i-1, "lane %s: another", w.source(commas[1]+1, last))
		w.around(commas[1]+1, last, fmt.Sprintf("%s::other(%d, ", space, n), ")")
	}
}

func (w *writer) list(i int) {
	if n := w.top(i+1, w.pair[i], ","); i+1 < w.pair[i] {
		w.split(i+1, w.pair[i], n, w.expression)
	}
}

// lambda walks the body of the one whose captures begin at i, and returns its last token.
func (w *writer) lambda(i int) int {
	body := w.pair[i] + 1
	for body < len(w.tokens) && w.at(body) != "{" {
		if w.at(body) == ";" || w.at(body) == ")" {
			w.fail(i, "a bracket that is neither an index nor a lambda")
			return i
		}
		if w.pair[body] > body {
			body = w.pair[body]
		}
		body++
	}
	w.block(body+1, w.pair[body])
	return w.pair[body]
}

// Names of what counts the stages of a ring, or says which half of a barrier's turns it is.
var stages = []string{"stage", "slot", "phase", "parity", "buffer", "buf"}

// stage: whether token i reads such a name.
func (w *writer) stage(i, begin, end int) bool {
	name := w.at(i)[strings.LastIndexByte(w.at(i), '_')+1:]
	if !slices.Contains(stages, name) || w.at(i+1) == "(" || w.at(i+1) == "[" || w.at(i+1) == "." || w.at(i+1) == "::" {
		return false
	}
	if i+1 < len(w.tokens) && slices.Contains(assignments, w.at(i+1)) {
		return false
	}
	for _, near := range []string{w.at(i - 1), w.at(i + 1)} {
		if slices.Contains([]string{"++", "--", "&", "->", "."}, near) {
			return false
		}
	}
	return true
}
