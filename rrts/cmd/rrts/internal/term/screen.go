package term

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Screen is a terminal that shows one page after another in the same place. Where
// there is no terminal the pages follow each other.
type Screen struct {
	in, out *os.File
	live    bool
	before  *unix.Termios // of in; nil when it was left alone
}

const (
	// The alternate screen keeps what stood in the terminal before.
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	topLeft     = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// OpenScreen takes the terminal over, unless pages is false: then nothing will be
// shown. Keys reach the program one by one and are not echoed; Close gives it all back.
func OpenScreen(in, out *os.File, pages bool) (*Screen, error) {
	s := &Screen{in: in, out: out}
	if _, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ); err != nil || !pages {
		return s, nil
	}
	s.live = true
	if before, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err == nil {
		raw := *before
		raw.Lflag &^= unix.ICANON | unix.ECHO
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if err := unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, &raw); err != nil {
			return nil, fmt.Errorf("the terminal: %w", err)
		}
		s.before = before
	}
	_, err := out.WriteString(enterScreen)
	return s, err
}

// Size is that of the terminal; 80 columns, and as many lines as it takes, where there
// is none.
func (s *Screen) Size() (width, height int) {
	if size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ); err == nil && s.live && size.Col > 0 {
		return int(size.Col), int(size.Row)
	}
	return 80, 0
}

// Show shows a page of at most so many lines.
func (s *Screen) Show(page string, height int) error {
	if !s.live {
		_, err := s.out.WriteString(page + "\n")
		return err
	}
	lines := strings.Split(strings.TrimSuffix(page, "\n"), "\n")
	if len(lines) > height {
		lines = lines[:height]
	}
	// Line by line over what stands there: nothing flickers.
	_, err := s.out.WriteString(topLeft + strings.Join(lines, clearLine+"\r\n") + clearLine + clearRest)
	return err
}

// Keys delivers what is pressed, until ctx ends.
func (s *Screen) Keys(ctx context.Context) <-chan byte {
	keys := make(chan byte)
	if s.before == nil {
		return keys
	}
	go func() {
		var b [1]byte
		for {
			if n, err := s.in.Read(b[:]); err != nil || n == 0 {
				return
			}
			select {
			case keys <- b[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return keys
}

// Close gives the terminal back.
func (s *Screen) Close() {
	if !s.live {
		return
	}
	_, _ = s.out.WriteString(leaveScreen) // there is nobody to tell
	if s.before != nil {
		_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.before)
	}
}
