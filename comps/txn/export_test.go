package txn

// Listening is how many questions for events wait at a member.
func (c *Component) Listening() int {
	l := c.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}
