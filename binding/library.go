package binding

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"unsafe"
)

// Library is a backend library that passed the handshake. It stays loaded for the life of the
// process, since threads of a device may outlive every context. Safe for many goroutines.
type Library struct {
	path         string
	hash         string
	abi          ABIVersion
	capabilities Capabilities
	functions    [symbolCount]uintptr
}

// Path is the absolute path of the file.
func (l *Library) Path() string { return l.path }

// Hash is the SHA-256 of the file as it was opened, in hexadecimal.
func (l *Library) Hash() string { return l.hash }

// ABI is the library's version of the C interface.
func (l *Library) ABI() ABIVersion { return l.abi }

// Capabilities is what the library said of device 0 when it was opened.
func (l *Library) Capabilities() Capabilities { return l.capabilities }

// Open loads the library at path, which must be absolute, and checks it before anything of it is
// used: the version of the C interface, then the layout of every struct, then that every function
// is there, then that it finds its device. Each Open gives a Library of its own.
//
// A refusal is a [*LoadError] around ErrInvalidArgument (a relative path), ErrNoLibrary (no such
// file, or the system's loader refuses it: the text is the loader's), ErrABIMismatch,
// ErrMissingSymbols or what the library answered to the probe (ErrUnsupported: no device).
func Open(path string) (*Library, error) {
	l, err := open(path)
	if err != nil {
		return nil, &LoadError{Path: path, Err: err}
	}
	return l, nil
}

func open(path string) (*Library, error) {
	if err := platformError(); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%w: the path of a library must be absolute", ErrInvalidArgument)
	}
	path = filepath.Clean(path)
	hash, err := hashFile(path)
	if err != nil {
		if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
			err = pathErr.Err // the path stands in LoadError
		}
		return nil, fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	handle, err := load(path, hash)
	if err != nil {
		return nil, err
	}
	b, err := newBlock()
	if err != nil {
		return nil, err
	}
	l := &Library{path: path, hash: hash}
	err = l.handshake(handle, b)
	if freeErr := b.free(); err == nil {
		err = freeErr
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Library) handshake(handle uintptr, b block) error {
	if err := l.checkVersion(handle); err != nil {
		return err
	}
	if err := l.checkLayouts(handle, b); err != nil {
		return err
	}
	if err := l.resolve(handle); err != nil {
		return err
	}
	capabilities, err := l.probe(b, 0)
	l.capabilities = capabilities
	return err
}

// checkVersion asks l3v_abi_version, the one function whose meaning no version changes.
//
//	uint32_t l3v_abi_version(void);
func (l *Library) checkVersion(handle uintptr) error {
	want := ABIVersion(ABIMajor<<16 | ABIMinor)
	fn := dlsym(handle, symbolNames[symABIVersion])
	if fn == 0 {
		return &ABIError{Want: want, Detail: "not a llama3v library: it has no l3v_abi_version"}
	}
	l.abi = ABIVersion(uint32(call(fn, nil)))
	if l.abi.Major() != ABIMajor || l.abi.Minor() < ABIMinor {
		return &ABIError{Library: l.abi, Want: want, Detail: fmt.Sprintf(
			"it has version %v of the C interface, this program needs %d.%d or a later %d.x", l.abi, ABIMajor, ABIMinor, ABIMajor)}
	}
	return nil
}

// checkLayouts compares size and field offsets of every struct with Go's own.
//
//	l3v_status l3v_struct_layout(uint32_t id, uint32_t* size, uint32_t* offsets, uint32_t cap,
//	                             uint32_t* fields);
func (l *Library) checkLayouts(handle uintptr, b block) error {
	fn := dlsym(handle, symbolNames[symStructLayout])
	if fn == 0 {
		return &SymbolsError{Names: []string{symbolNames[symStructLayout]}}
	}
	const capacity = (blockBytes - blockText) / 4
	type answer struct{ size, fields uint32 }
	for _, want := range layouts {
		got := result[answer](b)
		status := Status(int32(call(fn, []uintptr{
			uintptr(want.id),
			b.address(blockResults), b.address(blockText), capacity, b.address(blockResults + 4),
		})))
		detail := ""
		switch {
		case status != StatusOK:
			detail = fmt.Sprintf("it answers %q when asked for the layout of l3v_%s", status, want.name)
		case got.fields > capacity:
			detail = fmt.Sprintf("it says that l3v_%s has %d fields", want.name, got.fields)
		default:
			offsets := unsafe.Slice((*uint32)(unsafe.Pointer(&b.mem[blockText])), got.fields)
			detail = want.differs(got.size, offsets, l.abi.Minor() > ABIMinor)
		}
		if detail != "" {
			return &ABIError{Library: l.abi, Want: ABIVersion(ABIMajor<<16 | ABIMinor), Detail: detail}
		}
	}
	return nil
}

// resolve looks up every function and reports all that are missing at once.
func (l *Library) resolve(handle uintptr) error {
	var missing []string
	for s, name := range symbolNames {
		l.functions[s] = dlsym(handle, name)
		if l.functions[s] == 0 {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		return &SymbolsError{Names: missing}
	}
	return nil
}

// Probe asks what the library can do on a device, 0 the first. ErrUnsupported: no such device.
func (l *Library) Probe(device int) (Capabilities, error) {
	b, err := newBlock()
	if err != nil {
		return Capabilities{}, err
	}
	defer b.free()
	return l.probe(b, device)
}

// probe is [Library.Probe] through a block.
//
//	l3v_status l3v_probe(int32_t device, l3v_capabilities* out, char* err, uint64_t cap);
func (l *Library) probe(b block, device int) (Capabilities, error) {
	if err := fitsInt32("probe", "device", device); err != nil {
		return Capabilities{}, err
	}
	out := ask[capabilities](b)
	b.mem[blockText] = 0
	status := Status(int32(call(l.functions[symProbe], []uintptr{
		uintptr(int32(device)), b.address(blockResults), b.address(blockText), blockBytes - blockText,
	})))
	if status != StatusOK {
		return Capabilities{}, &Error{Op: symProbe.op(), Status: status, Text: b.text()}
	}
	return out.public(), nil
}

func fitsInt32(op, what string, v int) error {
	if int(int32(v)) != v {
		return &Error{Op: op, Status: StatusInvalidArgument, Text: fmt.Sprintf("%s %d does not fit 32 bits", what, v)}
	}
	return nil
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// loaded holds the hash of the file behind each path that this process loaded. The system's
// loader goes by the path: asked again after the file was replaced, it would hand out the old
// code in silence.
var loaded = struct {
	sync.Mutex
	hashes map[string]string
}{hashes: map[string]string{}}

func load(path, hash string) (handle uintptr, err error) {
	loaded.Lock()
	defer loaded.Unlock()
	if first, ok := loaded.hashes[path]; ok && first != hash {
		return 0, fmt.Errorf("%w: the file was replaced since this process loaded it, which only a restart can pick up", ErrNoLibrary)
	}
	handle, err = dlopen(path)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoLibrary, err)
	}
	loaded.hashes[path] = hash
	return handle, nil
}
