package poison

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/idpsync/idpsync/worker/record"
)

// slotSize bounds an origin in a slot, in bytes.
const slotSize = 128

// slotFiles is the pattern of the names of the files.
const slotFiles = "*.crumbs"

// A slotFile holds what the goroutines of this process work on; its first slot holds the id of the process's run.
type slotFile struct {
	file *os.File
	free chan int64
}

// A crash is what a dead process left in its file. The file stays, locked by this process, until it is removed.
type crash struct {
	boot    string
	origins []record.Origin // what it had in its slots
	file    *os.File
}

// openSlots makes the file of this process in the folder, and returns what dead processes left there.
func openSlots(folder, boot string, slots int) (s *slotFile, crashes []crash, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, nil, fmt.Errorf("slots of events in hand: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(folder, slotFiles))
	if err != nil {
		return nil, nil, fmt.Errorf("slots of events in hand: %w", err)
	}
	for _, name := range files {
		c, found, err := readCrash(name)
		if err != nil {
			return nil, nil, fmt.Errorf("slots of events in hand: %w", err)
		}
		if found {
			crashes = append(crashes, c)
		}
	}
	f, err := os.CreateTemp(folder, slotFiles)
	if err != nil {
		return nil, nil, fmt.Errorf("slots of events in hand: %w", err)
	}
	if _, err := lockFile(f); err != nil {
		return nil, nil, fmt.Errorf("slots of events in hand: %w", err)
	}
	if _, err := f.WriteString(boot); err != nil {
		return nil, nil, fmt.Errorf("slots of events in hand: %w", err)
	}
	s = &slotFile{file: f, free: make(chan int64, slots)}
	for i := range slots {
		s.free <- int64(i + 1)
	}
	return s, crashes, nil
}

// readCrash reads a dead process's file. The file of a living process is locked and stays.
func readCrash(name string) (c crash, found bool, err error) {
	f, err := os.Open(name) //nolint:gosec // a file of our own
	if os.IsNotExist(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	defer func() {
		if !found {
			_ = f.Close()
		}
	}()
	if locked, err := lockFile(f); err != nil || !locked {
		return c, false, err
	}
	data, err := os.ReadFile(name) //nolint:gosec // a file of our own
	if os.IsNotExist(err) {
		return c, false, nil // another worker has removed it meanwhile
	}
	if err != nil {
		return c, false, err
	}
	c.file = f
	for slot := range slices.Chunk(data, slotSize) {
		text := string(bytes.TrimRight(slot, "\x00"))
		if c.boot == "" {
			c.boot = text
		} else if text != "" {
			c.origins = append(c.origins, record.ParseOrigin(text))
		}
	}
	return c, true, nil
}

// remove removes the file, once what it tells is kept elsewhere.
func (c crash) remove() {
	_ = os.Remove(c.file.Name())
	_ = c.file.Close()
}

// close removes the file of a process that ends in peace.
func (s *slotFile) close() {
	_ = os.Remove(s.file.Name())
	_ = s.file.Close()
}

// A Slot belongs to one goroutine and tells which event it works on. A file that cannot be written costs only evidence.
type Slot struct {
	file *slotFile // nil keeps nothing
	at   int64
}

// Set writes the origin of the event in hand.
func (s Slot) Set(o record.Origin) {
	if s.file != nil && o.Stored() {
		s.write(o.String())
	}
}

// Clear empties the slot.
func (s Slot) Clear() {
	if s.file != nil {
		s.write("")
	}
}

// Release gives the slot back.
func (s Slot) Release() {
	if s.file != nil {
		s.file.free <- s.at
	}
}

func (s Slot) write(text string) {
	var b [slotSize]byte
	copy(b[:], text)
	_, _ = s.file.file.WriteAt(b[:], s.at*slotSize)
}
