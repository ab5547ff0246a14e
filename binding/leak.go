package binding

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
)

// leak watches one object for being collected while still open. It frees nothing: a collector
// runs when it likes, and device memory that comes back at random hides the fault.
type leak struct {
	kind    string
	where   string
	owner   *leak // the context's; its Close closed this object too
	closed  atomic.Bool
	cleanup runtime.Cleanup
}

var (
	leaks    atomic.Int64
	leakHook atomic.Pointer[func(kind, where string)]
)

// Leaks is the number of objects so far that were collected while still open.
func Leaks() int64 { return leaks.Load() }

// OnLeak sets the function that hears of each leaked object: its kind ("context", "buffer",
// "weight", "graph", "event") and the calls that made it. It runs on the runtime's cleanup
// goroutine and must not block. Nil, the default, only counts. OnLeak returns the one before.
func OnLeak(hook func(kind, where string)) (previous func(kind, where string)) {
	var p *func(string, string)
	if hook != nil {
		p = &hook
	}
	if old := leakHook.Swap(p); old != nil {
		return *old
	}
	return nil
}

// watch starts to watch object until its leak is closed.
func watch[T any](object *T, kind string, owner *leak) *leak {
	l := &leak{kind: kind, where: callers(), owner: owner}
	l.cleanup = runtime.AddCleanup(object, (*leak).report, l)
	return l
}

// close ends the watch of an object that was closed.
func (l *leak) close() {
	l.closed.Store(true)
	l.cleanup.Stop()
}

func (l *leak) report() {
	if l.closed.Load() || l.owner != nil && l.owner.closed.Load() {
		return
	}
	leaks.Add(1)
	if hook := leakHook.Load(); hook != nil {
		(*hook)(l.kind, l.where)
	}
}

// callers names the calls that led to the object, the innermost first.
func callers() string {
	var pcs [6]uintptr
	// Of the stack: runtime.Callers, callers, watch, the method that makes the object.
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs[:])])
	var where []string
	for {
		f, more := frames.Next()
		if f.Function != "" {
			where = append(where, fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line))
		}
		if !more {
			return strings.Join(where, " < ")
		}
	}
}
