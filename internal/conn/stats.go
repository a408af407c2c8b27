package conn

// Stats are the books of a Table. All but Live and Handshaking only grow.
//
//	Seen             = Opened + Adopted + Failed + Abandoned + Handshaking
//	Opened + Adopted = Live + Closed + LostClose
type Stats struct {
	Seen        uint64 // different connections in the records
	Opened      uint64 // established since the start
	Adopted     uint64 // found established
	Failed      uint64 // connects that failed
	Abandoned   uint64 // ended before they were established, without being a failed connect
	Handshaking uint64 // now on the way to being established
	Live        uint64 // now established
	Closed      uint64
	LostClose   uint64 // gone from the kernel without a record of their end

	Ignored uint64 // records that came late or twice, or of sockets that are no connections
	Refused uint64 // records of connections beyond Options.MaxConnections
	Folded  uint64 // connections attributed to the overflow of owners or attributes

	FlowsFolded uint64 // connections and datagram flows attributed to the overflow of flows
}
