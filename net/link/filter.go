package link

import (
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Match lets a packet link keep foreign frames out of its socket: of the frames
// of its EtherType it takes only those whose 32-bit big-endian word at Offset is
// Value. The zero Match takes all.
type Match struct {
	// Offset is in bytes from the start of the frame.
	Offset uint32
	Value  uint32
	// Behind is the 16-bit word behind that one; 0 takes all. A broadcast for somebody
	// else costs no wake-up then.
	Behind uint16
}

// filter returns the program for the kernel: frames for somebody else, which
// bridges flood to every port, are dropped before they cost a wake-up, and so is
// what does not match. (The EtherType is the socket's own protocol.)
func (m Match) filter() ([]bpf.RawInstruction, error) {
	const all = 1 << 18
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_BROADCAST, SkipTrue: 1},
		bpf.RetConstant{Val: all},
		bpf.RetConstant{Val: 0},
	}
	if m != (Match{}) {
		// A frame too short to hold the words ends the program: dropped.
		words := []bpf.Instruction{
			bpf.LoadAbsolute{Off: m.Offset, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: m.Value, SkipTrue: 1},
		}
		if m.Behind != 0 {
			words[1] = bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: m.Value, SkipTrue: 3}
			words = append(words,
				bpf.LoadAbsolute{Off: m.Offset + 4, Size: 2},
				bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(m.Behind), SkipTrue: 1})
		}
		program = slices.Concat([]bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtType},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_BROADCAST, SkipTrue: uint8(len(words) + 1)},
		}, words, []bpf.Instruction{
			bpf.RetConstant{Val: all},
			bpf.RetConstant{Val: 0},
		})
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, fmt.Errorf("link: filter: %w", err)
	}
	return raw, nil
}
