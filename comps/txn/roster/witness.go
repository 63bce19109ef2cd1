package roster

// typeWitness is the type of an SFU that votes and keeps the log, and applies nothing.
const typeWitness = "witness"

// Witness reports whether a member is one.
func (s State) Witness(id uint64) bool {
	m := s.Member(uint32(id))
	return m != nil && m.Type == typeWitness
}

// CanLead reports whether one of the voters holds the state: witnesses alone can bring
// nobody further.
func (s State) CanLead() bool {
	for _, id := range s.Conf.Voters {
		if !s.Witness(id) {
			return true
		}
	}
	return false
}
