package link

import (
	"errors"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr of recvmmsg(2) and sendmmsg(2). Go pads it to whole
// words as C does, because the header holds pointers.
type message struct {
	header unix.Msghdr
	length uint32
}

// vector is one direction's messages, laid out once and used for every call.
type vector struct {
	messages [BatchSize]message
	iovecs   [BatchSize]unix.Iovec
	names    [BatchSize][nameSize]byte
	// from and to bound the messages of the call under way; n and errno are
	// its result.
	from, to, n int
	errno       syscall.Errno
	call        func(fd uintptr) bool
	try         func(fd uintptr) bool // as call, but does not wait
}

// batch moves frames through one socket, many in a system call: the fast path
// of packet sockets, and the only one of UDP and Unix datagrams. It allocates
// nothing once it is made.
type batch struct {
	rc       syscall.RawConn
	codec    codec
	count    *counters
	patience patience
	// index[i] is the place in the caller's frames of send message i.
	index [BatchSize]int
	out   vector
	in    vector
	room  int // frames that the next poll asks for
}

// newBatch returns the batch over rc, which must be in non-blocking mode.
func newBatch(rc syscall.RawConn, c codec, count *counters) *batch {
	b := &batch{rc: rc, codec: c, count: count, room: fewFrames}
	for i := range BatchSize {
		for _, v := range []*vector{&b.in, &b.out} {
			h := &v.messages[i].header
			h.Name = &v.names[i][0]
			h.Iov = &v.iovecs[i]
			h.SetIovlen(1)
		}
	}
	b.out.call = func(fd uintptr) bool {
		b.out.do(unix.SYS_SENDMMSG, fd)
		return true
	}
	b.in.call = func(fd uintptr) bool {
		b.in.do(unix.SYS_RECVMMSG, fd)
		return b.in.errno != unix.EAGAIN
	}
	b.in.try = func(fd uintptr) bool {
		b.in.do(unix.SYS_RECVMMSG, fd)
		return true
	}
	return b
}

// fewFrames is how many frames are sent by a call that the Go scheduler is not told
// of. It does not block, and takes some ten microseconds: less than what it costs, on
// an idle machine, to wake the thread that watches over system calls. A receiving call
// takes that for a whole batch. It is also the least room that a poll makes: as much as a
// batch where calls come back full, half of it after each that leaves three quarters empty.
// To lay out room for a batch costs more than to receive a frame.
const fewFrames = 8

// do makes one system call over messages from to to.
func (v *vector) do(trap, fd uintptr) {
	call := unix.RawSyscall6
	switch {
	case trap != unix.SYS_SENDMMSG:
	case v.to-v.from == 1:
		v.sendOne(fd)
		return
	case v.to-v.from > fewFrames:
		call = unix.Syscall6
	}
	for {
		n, _, errno := call(trap, fd, uintptr(unsafe.Pointer(&v.messages[v.from])),
			uintptr(v.to-v.from), unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		v.n, v.errno = int(n), errno
		if errno != 0 {
			v.n = 0
		}
		return
	}
}

// sendOne sends message from by the call that is for one.
func (v *vector) sendOne(fd uintptr) {
	for {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&v.messages[v.from].header)), unix.MSG_DONTWAIT, 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		v.n, v.errno = 1, errno
		if errno != 0 {
			v.n = 0
		}
		return
	}
}

// send hands frames of at most mtu bytes to the socket; see Link.Send.
func (b *batch) send(frames []Frame, mtu int) (sent int, first error) {
	b.patience.begin()
	total := len(frames)
	for len(frames) > 0 {
		chunk := frames[:min(len(frames), BatchSize)]
		n, err := b.sendChunk(chunk, mtu)
		sent += n
		if first == nil {
			first = err
		}
		if errors.Is(err, net.ErrClosed) || errors.Is(err, ErrDown) {
			break
		}
		frames = frames[len(chunk):]
	}
	b.count.sendLost.Add(uint64(total - sent))
	return sent, first
}

// sendChunk sends at most BatchSize frames.
func (b *batch) sendChunk(frames []Frame, mtu int) (sent int, first error) {
	fail := func(err error) {
		if first == nil {
			first = err
		}
	}
	end := 0
	for i := range frames {
		f := &frames[i]
		if len(f.Data) == 0 || len(f.Data) > mtu {
			fail(ErrSize)
			continue
		}
		length := b.codec.encode(f.Addr, &b.out.names[end])
		if length == 0 {
			fail(ErrAddr)
			continue
		}
		b.out.messages[end].header.Namelen = length
		b.out.iovecs[end].Base = &f.Data[0]
		b.out.iovecs[end].SetLen(len(f.Data))
		b.index[end] = i
		end++
	}
	bytes := 0
	for at := 0; at < end; {
		b.out.from, b.out.to = at, end
		if b.rc.Write(b.out.call) != nil {
			fail(net.ErrClosed)
			break
		}
		for i := at; i < at+b.out.n; i++ {
			f := &frames[b.index[i]]
			bytes += len(f.Data)
			b.patience.took(b.codec.queue(f.Addr))
		}
		sent += b.out.n
		at += b.out.n
		switch errno := b.out.errno; errno {
		case 0:
		case unix.EAGAIN, unix.ENOBUFS:
			if b.patience.wait(b.codec.queue(frames[b.index[at]].Addr)) {
				b.count.sendRetries.Add(1)
				continue
			}
			fail(ErrFull)
			at++
		case unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
			fail(ErrDown)
			at = end
		default:
			// Nobody there, or the frame is too long after all: the fault of
			// this frame alone.
			fail(os.NewSyscallError("sendmmsg", errno))
			at++
		}
	}
	// The caller's frames are not held beyond the call.
	for i := range end {
		b.out.iovecs[i].Base = nil
	}
	b.count.sentFrames.Add(uint64(sent))
	b.count.sentBytes.Add(uint64(bytes))
	return sent, first
}

// receive blocks until frames arrive; see Link.Receive. Any error but
// net.ErrClosed is the socket's own, for the caller to judge.
func (b *batch) receive(frames []Frame) (int, error) {
	for {
		if err := b.fetch(frames, min(len(frames), BatchSize), b.in.call); err != nil {
			return 0, err
		}
		if n := b.sort(frames); n > 0 {
			return n, nil
		}
	}
}

// poll is receive without the wait; see Pollable.
func (b *batch) poll(frames []Frame) (n int, more bool, err error) {
	limit := min(len(frames), b.room)
	err = b.fetch(frames, limit, b.in.try)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	// The kernel stops short of a full call only where the queue ends.
	more = b.in.n == limit
	switch {
	case more:
		b.room = BatchSize
	case b.in.n <= b.room/4:
		b.room = max(b.room/2, fewFrames)
	}
	return b.sort(frames), more, nil
}

// fetch makes one system call into the first limit frames.
func (b *batch) fetch(frames []Frame, limit int, call func(fd uintptr) bool) error {
	for i := range limit {
		buf := frames[i].Data[:cap(frames[i].Data)]
		b.in.messages[i].header.Namelen = nameSize
		b.in.iovecs[i].Base = unsafe.SliceData(buf)
		b.in.iovecs[i].SetLen(len(buf))
	}
	b.in.from, b.in.to = 0, limit
	err := b.rc.Read(call)
	for i := range limit {
		b.in.iovecs[i].Base = nil
	}
	switch {
	case err != nil:
		return net.ErrClosed
	case b.in.errno == unix.EAGAIN:
		return unix.EAGAIN // bare: it is no fault, and is not to cost an allocation
	case b.in.errno != 0:
		return os.NewSyscallError("recvmmsg", b.in.errno)
	}
	return nil
}

// sort moves the good frames of a call to the front, counts them, and returns their
// number.
func (b *batch) sort(frames []Frame) int {
	n := 0
	for i := range b.in.n {
		m := &b.in.messages[i]
		addr := b.codec.decode(b.in.names[i][:m.header.Namelen])
		switch {
		case m.header.Flags&unix.MSG_TRUNC != 0:
			b.count.truncated.Add(1)
			continue
		case addr.kind == kindNone || m.length == 0:
			b.count.foreign.Add(1)
			continue
		}
		frames[n].Data, frames[i].Data = frames[i].Data, frames[n].Data
		frames[n].Data = frames[n].Data[:m.length]
		frames[n].Addr = addr
		n++
	}
	b.count.received(frames[:n])
	return n
}
