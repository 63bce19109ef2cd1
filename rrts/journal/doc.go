// Package journal is the sealed, chained, group-committed log on disk.
//
// The owner appends opaque records of its own kinds and syncs; what a returned
// [Journal.Sync] covered is on the platter, in order, encrypted, and will be
// read back exactly or reported as damaged. The journal knows nothing of
// consensus. It starts no goroutine, reads no clock, and reaches the disk only
// through a [vfs.FS].
//
// # Use
//
//	j, err := journal.Open(journal.Config{FS: vfs.Default, Dir: dir, Keys: ring, Cluster: id, Head: head})
//	if d := j.Damage(); d != nil {
//		// Neither vote nor acknowledge. For each range: Repair it with the
//		// records of a peer, or Abandon it when nothing in it is needed, or
//		// TrimBefore past it when a snapshot stands above it.
//	}
//	err = j.Replay(0, func(pos journal.Position, kind journal.Kind, payload []byte) error { … })
//	err = j.Reserve()                    // the next segment stands ready; again after each roll, on any goroutine
//	for batch := range work {
//		pos, err := j.Append(kind, header, body) // sealed into memory
//		err = j.Sync()                           // one write, one fdatasync: now it may be acknowledged
//	}
//	// idle for at most 10 ms after a Sync:
//	if j.NeedsMark() {
//		err = j.Mark()
//	}
//	err = j.TrimBefore(pos)              // whole segments below pos are recycled
//
// # Promises
//
//   - A record that a returned Sync covered survives crashes. A tail is cut only
//     behind the highest position that some record says was synced; whatever is
//     unreadable below it is damage: Open succeeds, [Journal.Damage] lists the
//     ranges, and Append, Sync, Mark and Rotate refuse with an error for which
//     [IsDamage] holds until every range is repaired, abandoned or trimmed.
//   - No block that a Sync made durable is ever written again, so a power cut
//     in the next write cannot take it along. (Marks take turns. Open writes the tail that nothing
//     speaks for once more, the same bytes: after a failed sync the page cache shows what the
//     disk does not hold.)
//   - No nonce repeats: a segment's key comes from a fresh random salt, a frame's
//     nonce is its offset, and a restart begins a new segment.
//   - A failed write or sync makes the journal dead for good: every later call
//     that would write answers the same error, for which [IsFailed] holds. The owner ends the
//     process; the next one recovers from what the disk really holds.
//   - A full disk is noticed by [Journal.Reserve], one whole segment early:
//     [ErrNoSpace]. Appends that fit the current segment still work, so do reads.
//
// The one window, by design: the records of the last Syncs before a crash are
// told from a torn tail only by a later record or mark. When a crash comes within the
// owner's mark delay (10 ms), and the same records rot and so does everything behind
// them, they are cut.
//
// # Damage and repair
//
// Kinds below [LocalKinds] are shared: every replica holds the same bytes, so
// any peer's copy can stand in for a lost one. Each record carries a digest that
// chains the plaintext of all shared records before it; the first good record after a
// damaged range therefore proves whether a peer's records are the lost ones.
// Local kinds (hard state, votes) are not in the chain: their loss is counted
// and reported, and the owner judges whether a later record supersedes them.
//
// A repair never writes into the damaged file. It writes the segment anew,
// under a fresh salt, and renames it into place. Positions of records outside of the
// range stay what they were.
//
// # Files
//
//	NNNNNNNNNN.seg     a segment, by its number; it has the name only after its header is durable
//	NNNNNNNNNN.spare   a preallocated file of zeros or a recycled segment; its content means nothing
//	NNNNNNNNNN.tmp     a file being filled or a segment being repaired; removed by Open
//	LOCK               held while the journal is open
//
// A file loses its .seg name durably before its bytes change.
//
// # Segment format, version 1
//
// All numbers are little-endian. A position is segment number << 32 | offset.
//
//	0            header block
//	4096         mark, even numbers
//	8192         mark, odd numbers
//	12288        frames, in groups that begin at a multiple of 4096 (a group is what one write
//	             carried; zeros fill its last block)
//	size-12288   mark, even numbers
//	size-8192    mark, odd numbers
//	size-4096    header block, second copy
//
// Header block: 4096 bytes, zero behind byte 156.
//
//	  0    8  magic "rrtsjrnl"
//	  8    2  format version, 1
//	 10    2  0
//	 12    4  node key id
//	 16   16  cluster id
//	 32    8  epoch
//	 40    4  segment number, from 1
//	 44    4  segment size in bytes
//	 48   32  salt, random
//	 80   72  sealed: AES-256-GCM, nonce = 1 (4 bytes) ‖ 0 (8 bytes), additional data bytes 0..80
//	            0   8  previous end: where the log ended when this segment began; 0 in the first
//	            8   8  shared records before this segment
//	           16   8  local records before it
//	           24  32  chain: digest of all shared records before it
//	           56  16  tag
//	152    4  CRC-32C of bytes 0..152, which tells rot from a wrong key
//
// The segment's key is HKDF-SHA256(node key, salt, "rrts journal segment 1" ‖ cluster id),
// 36 bytes: the AES-256 key and the segment word, which tells the segment's
// frames from what the file held in an earlier life.
//
// Frame: at a multiple of 8, 88+n bytes and zeros up to a multiple of 8.
//
//	 0    4  segment word
//	 4    4  CRC-32C of bytes 8..40, which spares most of the work on what is no frame
//	 8    4  n, payload bytes
//	12    1  type: 1 record, 2 gap, 3 mark
//	13    1  kind, of a record; else 0
//	14    2  0
//	16    8  synced: everything below this position was synced when the frame was sealed
//	24    4  shared records before the frame in its segment
//	28    4  local records before the frame in its segment
//	32    4  shared records in its segment below the synced position
//	36    4  local records in its segment below the synced position
//	40   32  sealed: chain, digest of all shared records before the frame
//	72    n  sealed: payload
//	72+n 16  tag: AES-256-GCM, nonce = 0 (4 bytes) ‖ offset (8 bytes), additional data bytes 0..40
//
// Chain: c(i+1) = SHA-256(kind (1) ‖ n (4) ‖ c(i) ‖ payload) over shared records; c(0) is zero.
//
// A gap stands where a repair left records out: it has no payload, its bytes
// 32..40 count the records before what follows the gap, its chain is the one that follows, and
// its synced is 0.
//
// A mark is a frame without payload in one of the four mark blocks, in the half of
// the segment where the log does not end, so that nothing takes both along: its synced field says what is durable, its counts and its chain are those at that
// position, its bytes 32..40 are its number, and its nonce is 2 (4 bytes) ‖ number (8 bytes).
//
// Counts and chain alone say whether anything is missing between two frames; the bytes
// between them mean nothing.
//
// Never changed once written by a released version: the magic, the place of version
// and key id, and that a reader refuses a version it does not know.
package journal
