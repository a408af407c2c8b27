/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * Records that cross from the kernel to Go. internal/wire/types_generated.go is made from the BTF of
 * these structs (go generate ./bpf), never by hand. Padding is explicit, every struct is a multiple of
 * eight bytes and holds nothing whose size depends on the architecture.
 *
 * Conventions: time in nanoseconds of CLOCK_MONOTONIC; addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d, so
 * that a v4-mapped socket and a plain one are the same peer; ports in host byte order; 0 means "not
 * known" wherever 0 is not a value of the field.
 */
#pragma once

enum record_kind {
	RECORD_CONN_OPEN = 1,	  /* struct conn_record: sent once, before the first payload of a connection */
	RECORD_CONN_CLOSE = 2,	  /* struct conn_record: last values, at the change to TCP_CLOSE */
	RECORD_CONN_SNAPSHOT = 3, /* struct conn_record: from the socket iterator, at each collection */
	RECORD_DROP = 4,	  /* struct packet_event */
	RECORD_RESET = 5,	  /* struct packet_event */
	RECORD_RETRANSMIT = 6,	  /* struct packet_event */
	RECORD_CONN_FAILED = 7,	  /* struct conn_record: a connect that ended in SYN_SENT; also sent as CLOSE */
	RECORD_PAYLOAD = 8,	  /* struct payload_record, followed by captured bytes */
	RECORD_DATAGRAM = 9,	  /* struct datagram_record, followed by captured bytes */
	RECORD_SLOW = 10,	  /* struct slow_event */
	RECORD_STAGE = 11,	  /* struct stage_record */
	RECORD_KIND_MAX = 12,
};

struct record_header {
	__u64 time_ns;
	__u32 kind; /* enum record_kind */
	__u32 cpu;
};

/* Whom a socket or packet belongs to, as far as it is certain. */
struct owner_ref {
	__u64 cgroup_id; /* inode number of the cgroup v2 directory of the socket */
	__u32 netns;	 /* inode number of the network namespace */
	__u32 tgid;	 /* process, only where it was seen in process context */
};

struct address_pair {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol; /* IPPROTO_* */
	__u8 pad[3];
};

enum conn_role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1, /* this end called connect() */
	ROLE_SERVER = 2, /* this end accepted */
};

enum conn_flags {
	CONN_ADOPTED = 1,	 /* older than the receiver: opened_ns is when it was adopted */
	CONN_ESTABLISHED = 2,	 /* reached ESTABLISHED (or was found in it or past it) */
	CONN_TGID_AMBIGUOUS = 4, /* held by more than one process */
	CONN_SEQUENCES = 8,	 /* first_sent and first_received are known */
	CONN_UNREAD = 16,	 /* of CLOSE: bytes are there that the program has not read, and still can */
};

enum close_reason {
	CLOSE_UNKNOWN = 0,
	CLOSE_LOCAL_FIN = 1,	  /* this end closed first */
	CLOSE_REMOTE_FIN = 2,	  /* the peer closed first */
	CLOSE_RESET_RECEIVED = 3, /* RST from the peer */
	CLOSE_RESET_SENT = 4,	  /* closed with unread data, or with SO_LINGER 0 */
	CLOSE_TIMEOUT = 5,	  /* retransmissions, keep-alive or user timeout ran out */
	CLOSE_ERROR = 6,	  /* another socket error, in .error */
};

/* A connection and what its tcp_sock counted (include/linux/tcp.h). */
struct conn_record {
	struct record_header header;
	__u64 id; /* unique for the life of the receiver */
	struct owner_ref owner;
	struct address_pair pair;
	__u64 opened_ns;      /* SYN_SENT (client), SYN_RECV (server) or adoption */
	__u64 established_ns; /* change to ESTABLISHED; 0: not yet, or adopted */
	__u64 bytes_sent;     /* payload, retransmissions included */
	__u64 bytes_retrans;  /* payload retransmitted */
	__u64 bytes_acked;
	__u64 bytes_received; /* payload, in order, without duplicates */
	__u32 segs_out;
	__u32 segs_in;
	__u32 retransmits;  /* tcp_sock.total_retrans */
	__u32 out_of_order; /* tcp_sock.rcv_ooopack */
	__u32 srtt_us;	    /* smoothed RTT; 0: no sample yet */
	__u32 min_rtt_us;   /* 0: no sample yet */
	__u32 handshake_us; /* client: SYN to SYN-ACK; server: SYN-ACK to ACK; 0: not known */
	__u32 snd_cwnd;	    /* segments */
	__u32 snd_wnd;	    /* window offered by the peer, bytes */
	__u32 rcv_wnd;	    /* window offered to the peer, bytes */
	__u32 first_sent;   /* sequence numbers of the first byte of payload in each direction: CONN_SEQUENCES */
	__u32 first_received;
	__u32 error;	   /* sk_err: errno, at the end of the connection */
	__u8 state;	   /* TCP_*; for CLOSE records the state before */
	__u8 role;	   /* enum conn_role */
	__u8 flags;	   /* enum conn_flags */
	__u8 close_reason; /* enum close_reason */
	__u8 comm[16];	   /* of owner.tgid */
};

enum packet_direction {
	DIRECTION_UNKNOWN = 0,
	DIRECTION_TRANSMIT = 1,
	DIRECTION_RECEIVE = 2,
};

enum retransmit_type {
	RETRANSMIT_UNKNOWN = 0,
	RETRANSMIT_FAST = 1,
	RETRANSMIT_TIMEOUT = 2,
	RETRANSMIT_TAIL_LOSS_PROBE = 3,
	RETRANSMIT_SYN = 4,
	RETRANSMIT_SYN_ACK = 5,
};

enum tcp_fields {
	TCP_SEQUENCE = 1,
	TCP_HEADER = 2,
};

#define STACK_DEPTH 24

/* The fields without the stack: that is too large for a program's own stack, where an event is put together. */
#define PACKET_FIELDS                                                                                                  \
	struct record_header header;                                                                                   \
	__u64 conn_id; /* 0: no connection of ours */                                                                  \
	struct owner_ref owner;                                                                                        \
	struct address_pair pair;                                                                                      \
	__u64 location;	      /* kernel address that dropped the packet; 0: none */                                    \
	__u32 reason;	      /* skb_drop_reason, sk_rst_reason or enum retransmit_type; by header.kind */             \
	__u32 length;	      /* bytes of the packet as the kernel held it */                                          \
	__u32 sequence;	      /* with TCP_SEQUENCE */                                                                  \
	__u32 acknowledgment; /* with TCP_HEADER, as tcp_flags */                                                      \
	__u32 ifindex;	      /* 0: none */                                                                            \
	__u16 ether_type;                                                                                              \
	__u8 direction; /* enum packet_direction */                                                                    \
	__u8 tcp_flags;                                                                                                \
	__u8 has_reason;  /* 0: this kernel gives none, location is all there is */                                    \
	__u8 has_tcp;	  /* enum tcp_fields */                                                                        \
	__u8 tcp_state;	  /* of the socket, 0: none */                                                                 \
	__u8 stack_depth; /* frames in stack[] */                                                                      \
	__u8 pad[4];                                                                                                   \
	__u8 ifname[16];                                                                                               \
	__u8 comm[16]; /* of owner.tgid */

/* A drop, reset or retransmit. pair.local is the packet's source, pair.remote its destination: for a
 * packet that is only forwarded no end is local. */
struct packet_event {
	PACKET_FIELDS
	__u64 stack[STACK_DEPTH];
};

enum payload_flags {
	PAYLOAD_NOT_CAPTURED = 1, /* bytes were there and the tap could not read them (splice, io_uring, a fault) */
	PAYLOAD_CUT = 2,	  /* captured < length because of capture_bytes */
	PAYLOAD_DNS = 8,	  /* of a client's connection to port 53 */
	PAYLOAD_CONTINUES = 4,	  /* the call's next bytes: it did not begin with these */
	PAYLOAD_WAITS = 16,	  /* of a receive: had there been nothing, the thread would have waited in the call */
};

/* One successful send or receive call on a connection, or a part of it; `captured` bytes follow. */
struct payload_record {
	struct record_header header;
	__u64 conn_id;
	__u32 sequence; /* TCP sequence number of the first byte */
	__u32 length;	/* bytes moved */
	__u32 captured; /* bytes that follow */
	__u32 tgid;
	__u32 tid;
	__u8 direction; /* enum packet_direction */
	__u8 flags;	/* enum payload_flags */
	__u8 pad[2];
	__u32 srtt_us;	   /* smoothed RTT at this moment; 0: no sample yet */
	__u32 retransmits; /* tcp_sock.total_retrans at this moment */
	/* Of a receive call: when the packet with the first byte came, if nothing unread was before it. */
	__u64 arrived_ns; /* from the device; 0: not known */
	__u64 queued_ns;  /* at TCP; 0: not known */
	/* Of a send call: the newest bytes that had been given to a device when it returned. */
	__u64 departed_ns;  /* when; 0: not known */
	__u32 arrived_end;  /* TCP sequence number after that packet's bytes */
	__u32 departed_end; /* and after the bytes that had departed */
};

/* What took long. */
enum slow_what {
	SLOW_READ = 0,	  /* data that had come was not read */
	SLOW_WRITE = 1,	  /* a sender waited for room in the socket */
	SLOW_SOFTIRQ = 2, /* a softirq waited, or ran */
	SLOW_STAGE = 3,	  /* a packet was in a stage */
	SLOW_WINDOW = 4,  /* a connection's window was closed: the peer's (transmit), or this end's (receive) */
	SLOW_COMMAND = 5, /* a driver waited for its device to carry out a command */
	SLOW_MAX = 6,
};

enum window_state {
	WINDOW_CLOSED = 0, /* still is */
	WINDOW_OPENED = 1, /* it was closed so long */
};

struct slow_event {
	struct record_header header; /* when it ended */
	__u64 conn_id;		     /* 0: no connection of ours */
	struct owner_ref owner;
	struct address_pair pair;
	__u64 duration_ns;
	__u32 sequence; /* TCP sequence number of the first byte that waited; 0: not known, or it was none */
	__u8 what;	/* enum slow_what */
	__u8 direction; /* enum packet_direction; SLOW_SOFTIRQ: enum softirq_phase */
	__u8 stage;	/* SLOW_STAGE: enum stage; SLOW_SOFTIRQ: vector; SLOW_WINDOW: enum window_state;
			   SLOW_COMMAND: class */
	__u8 stack_depth;
	__u8 comm[16]; /* of owner.tgid; SLOW_COMMAND: name of the device */
	__u64 stack[STACK_DEPTH];
};

enum softirq_phase {
	SOFTIRQ_WAIT = 0, /* from being raised to being run */
	SOFTIRQ_RUN = 1,
	SOFTIRQ_PHASES = 2,
	SOFTIRQ_VECTORS = 10, /* include/linux/interrupt.h */
};

/* Commands of a driver to its device. */
struct command_key {
	__u8 device[16]; /* name; what is behind its end is zero */
	__u8 class;	 /* VIRTIO_NET_CTRL_…, include/uapi/linux/virtio_net.h */
	__u8 overflow;	 /* 1: of all for which there was no room */
	__u8 pad[6];
};

/* Counted in the kernel per owner and reason: exact whatever the token bucket holds back. */
struct count_key {
	struct owner_ref owner;
	__u64 location; /* only where there is no reason */
	__u32 reason;
	__u8 kind;	/* enum record_kind: RECORD_DROP, RECORD_RESET or RECORD_RETRANSMIT */
	__u8 direction; /* enum packet_direction */
	__u8 has_reason;
	__u8 pad;
};

/* Distributions of times, counted in the kernel in the buckets of an OpenTelemetry exponential histogram of
 * seconds. Slot 0 holds what takes 2^-HISTOGRAM_FINEST s (238 ns) at most; slot i what takes more than
 * 2^((i-1)/8 - HISTOGRAM_FINEST) s and at most 2^(i/8 - HISTOGRAM_FINEST) s; the last ends at 2^10 s. */
enum histogram_shape {
	HISTOGRAM_SCALE = 3, /* 2^3 buckets per doubling */
	HISTOGRAM_FINEST = 22,
	HISTOGRAM_SLOTS = 257, /* 32 doublings */
};

/* Only grows, modulo its width: whoever reads it takes differences. */
struct histogram {
	__u64 sum_ns;
	__u32 slots[HISTOGRAM_SLOTS];
	__u32 pad;
};

/* Stages of a packet's way through the kernel. Their numbers are places in a stage_block, one per direction. */
enum stage {
	STAGE_IP = 0,
	STAGE_NETFILTER = 1,
	STAGE_SOCKET = 2, /* transmit */
	STAGE_NEIGHBOR = 3,
	STAGE_QDISC = 4,
	STAGE_DRIVER = 5,
	STAGE_NIC_TO_TCP = 2, /* receive */
	STAGE_TCP_TO_APP = 3,
	STAGE_WAIT = 6, /* of a socket: for its reader, or for room to send; not a stage of a packet */
	STAGES_PER_DIRECTION = 7,
};

/* Whose times a block holds. A shard is shared by several CPUs. */
struct stage_key {
	__u64 cgroup_id;
	__u32 netns;
	__u8 direction; /* enum packet_direction; unknown: forwarded */
	__u8 shard;
	__u8 overflow; /* 1: of all owners for whom there was no room */
	__u8 pad;
};

/* The time of a stage that was told of with its connection (struct stage_record). */
struct stage_told {
	__u64 ns;
	__u64 until_ns; /* till then only longer ones are */
};

struct stage_block {
	struct stage_told told[STAGES_PER_DIRECTION];
	struct histogram stages[STAGES_PER_DIRECTION];
};

/* One of the longest times that were counted in a block since a collection or so, with where it was measured. */
struct stage_record {
	struct record_header header; /* when it ended */
	struct stage_key key;
	__u64 conn_id;
	__u64 duration_ns;
	__u32 sequence; /* TCP sequence number of the packet's first byte */
	__u8 stage;	/* enum stage */
	__u8 pad[3];
};

/* Why a time was not counted. */
enum stage_loss {
	STAGE_NO_STAMP = 0,    /* the packet does not carry the time at which the stage began */
	STAGE_CLOCK = 1,       /* the stage would have ended before it began, or taken longer than a histogram holds */
	STAGE_INTERRUPTED = 2, /* beginning and end were not seen on the same CPU one after the other */
	STAGE_FOLDED = 3,      /* counted, but as overflow */
	STAGE_RATE = 4,	       /* more came than are timed on a CPU (struct stage_untimed) */
	STAGE_LOSS_KINDS = 5,
};

/* What came on a CPU beyond its allowance, since the start. A packet that is not timed misses all stages between two
 * places. */
struct stage_untimed {
	__u64 received;	    /* STAGE_NIC_TO_TCP, STAGE_IP */
	__u64 read;	    /* STAGE_TCP_TO_APP */
	__u64 offered;	    /* STAGE_SOCKET */
	__u64 queued;	    /* STAGE_IP */
	__u64 driven;	    /* STAGE_QDISC, STAGE_DRIVER */
	__u64 waited;	    /* STAGE_WAIT, of readers */
	__u64 read_all;	    /* STAGE_TCP_TO_APP and STAGE_WAIT: all that there was */
	__u64 netfilter[3]; /* by direction */
};

enum task_flags {
	TASK_KERNEL = 1,   /* a kernel thread: it lives in the host's own namespaces */
	TASK_IN_SCOPE = 2, /* of network namespace and cgroup */
};

/* A process, from the iterator over all tasks. */
struct task_record {
	__u64 cgroup_id;    /* inode number of its cgroup v2 directory */
	__u64 netns_cookie; /* never given to another namespace; 0: this kernel has none */
	__u64 start_ns;
	__u32 netns; /* inode number: given to another namespace as soon as it is free */
	__u32 tgid;
	__u32 flags; /* enum task_flags */
	__u32 pad;
};

/* A socket that listens, once for each process that holds it. */
struct listener_record {
	__u64 socket; /* tells sockets apart */
	__u32 netns;
	__u32 backlog;	   /* connections that wait to be accepted */
	__u32 max_backlog; /* as many may wait */
	__u32 drops;	   /* connections that were turned away */
	__u16 port;
	__u16 family; /* AF_* */
	__u32 pad;
};

/* What waits in the sockets of a network namespace, as ss has it. */
struct queue_bytes {
	__u64 receive;
	__u64 transmit;
};

/* A datagram to or from port 53 of a peer, as the socket's owner sent or received it; `captured` bytes follow. */
struct datagram_record {
	struct record_header header;
	__u64 socket; /* tells sockets apart, as long as they are open */
	struct owner_ref owner;
	struct address_pair pair; /* remote: zero where the hook does not tell who sent it */
	__u32 length;		  /* bytes of the datagram */
	__u32 captured;		  /* bytes that follow */
	__u8 direction;		  /* enum packet_direction */
	__u8 flags;		  /* enum payload_flags */
	__u8 pad[6];
	__u8 comm[16]; /* of owner.tgid */
};

/* What an owner and a peer exchanged in datagrams: exact, counted in the kernel. */
struct flow_key {
	struct owner_ref owner;
	__u8 peer[16]; /* zero where the hook does not tell */
	__u16 port;    /* of the server; 0 where it is not known who that is */
	__u8 role;     /* enum conn_role */
	__u8 protocol; /* IPPROTO_* */
	__u8 direction;
	__u8 pad[3];
};

/* The same of one socket. */
struct socket_flow_key {
	struct flow_key flow;
	__u8 local[16];
	__u16 local_port;
	__u8 pad[6];
};

struct flow_count {
	__u64 bytes;
	__u64 packets;
};
