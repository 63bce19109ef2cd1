package roster

import "virtualservicesinc.com/rrts/schema/txnpb"

// Listed reports whether a roster has an SFU that takes part.
func Listed(r *txnpb.Roster, number uint32) bool {
	for i := range r.Members {
		if m := &r.Members[i]; m.Number == number {
			return !m.Overruled
		}
	}
	return false
}

// Released reports whether a member that is not in a newer roster may go: the group as it is
// applied there is s, and outBy are those who say that it is out. They say so when they have
// applied it, durably. It takes most of the voters that are left: fewer may be lost, and then the
// others, which have the change in their logs and do not know that it is committed, hear that from
// the one that goes, or nobody.
func (s State) Released(number uint32, r *txnpb.Roster, outBy map[uint32]bool) bool {
	left, told := 0, 0
	for _, id := range s.Conf.GetVoters() {
		if uint32(id) == number || !Listed(r, uint32(id)) {
			continue
		}
		left++
		if outBy[uint32(id)] {
			told++
		}
	}
	return told > left/2 || left == 0 && len(outBy) > 0
}
