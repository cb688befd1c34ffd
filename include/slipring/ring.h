/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The ring: create it, open it, hand it on, look at it, remove it.
 *
 * A ring is a pair of shared-memory objects. `data` holds geometry, schema, cursor, slot headers
 * and payload, and only the producer writes it; `control` holds the cells of the members.
 *
 * Thread safety: every function here may be called from any thread, also at the same time on one
 * ring, except that slipring_ring_close() ends the caller's reference. A ring handle may be used
 * in a forked child (attach anew there); producers and consumers may not.
 *
 * What no check can prevent, and so is a matter of permission (slipring_config.mode, by default the
 * owner's alone). Who may write a named ring's files can truncate them: whoever touches what is gone
 * gets SIGBUS; anonymous rings are sealed against it. Who may write data can punch holes into it,
 * without a signal: in tensor rings a slot without its header is not delivered, and one without its
 * payload is told from a whole one by SLIPRING_CHECKSUM and SLIPRING_VERIFY; SLIPRING_WRITE_SEALED
 * rules that out.
 * Who may open control, be it only to read, can lock its bytes and so pass for a member, or the
 * producer, that lives: recovery and takeover then wait for it.
 */
#ifndef SLIPRING_RING_H
#define SLIPRING_RING_H

#include <slipring/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLIPRING_AUTO_NAME "" /**< slipring_ring_create() makes a name up */
#define SLIPRING_GROUP_NAME_BYTES 48

enum slipring_geometry {
    SLIPRING_GEOMETRY_AUTO =
        0, /**< by payload: up to 56 bytes compact, up to 192 pair, else tensor */
    SLIPRING_GEOMETRY_COMPACT = 1, /**< payload and sequence share a cache line; no header words */
    SLIPRING_GEOMETRY_PAIR = 2,    /**< header line and payload lines adjacent */
    SLIPRING_GEOMETRY_TENSOR = 3   /**< consecutive slots are consecutive memory */
};

/** What happens when the slowest group is a whole ring behind. */
enum slipring_full {
    SLIPRING_BLOCK = 0,    /**< the producer waits: lossless */
    SLIPRING_OVERWRITE = 1 /**< the producer goes on; lapped readers are told what they missed */
};

enum slipring_ring_flag {
    SLIPRING_TIMESTAMP = 1 << 0,      /**< each publish call notes CLOCK_MONOTONIC */
    SLIPRING_CHECKSUM = 1 << 1,       /**< XXH3 of each message's bytes, made by publish */
    SLIPRING_VARIABLE_SHAPE = 1 << 2, /**< each message carries its fields' actual shapes */
    SLIPRING_VANISH = 1 << 3,         /**< a named ring goes with its last open handle */
    SLIPRING_WRITE_SEALED = 1 << 4,   /**< anonymous only: none but the creator and its forked
                                           children can ever map the data writable */
    SLIPRING_HUGE_PAGES = 1 << 5,     /**< try hugetlb, then transparent huge pages, then base */
    SLIPRING_LOCK_PAGES = 1 << 6      /**< try mlock; the outcome is in slipring_info */
};

enum slipring_group_flag {
    SLIPRING_MANY = 1 << 0 /**< work sharing: each message goes to exactly one member */
};

/** What a `block` ring does with a group that holds the producer back. */
enum slipring_slow {
    SLIPRING_GATE = 0, /**< waits for it */
    SLIPRING_EVICT = 1 /**< waits evict_after_ns, then goes on without it */
};

/** A group that exists from the ring's creation on and gates with no member too. */
struct slipring_group {
    char name[SLIPRING_GROUP_NAME_BYTES];
    uint32_t flags;          /**< slipring_group_flag */
    uint32_t slow;           /**< slipring_slow */
    uint64_t evict_after_ns; /**< with SLIPRING_EVICT */
};

/** Everything that is fixed at creation. Set by slipring_config_init(), then changed as wanted. */
struct slipring_config {
    uint32_t struct_size;
    uint32_t flags;    /**< slipring_ring_flag */
    uint32_t geometry; /**< slipring_geometry */
    uint32_t full;     /**< slipring_full */
    uint64_t slots;    /**< a power of two, 2 to 2^32; default 1024; may be raised, see info */
    uint64_t start_sequence;
    const struct slipring_field *fields; /**< the schema of a slot, or NULL with slot_bytes */
    uint32_t field_count;
    uint32_t members_max;  /**< consumer cells; default 1024, at most 4094 */
    uint64_t slot_bytes;   /**< without fields: one field "data" of that many bytes (uint8) */
    uint32_t groups_max;   /**< groups of many; default 64, fewer where slots are many, see info */
    uint32_t releases_max; /**< unordered consumers; default as groups_max */
    uint32_t hold_max;     /**< held slots in an overwrite tensor ring; default slots / 4 */
    uint32_t lasting_count;
    const struct slipring_group *lasting; /**< groups that gate from the first sequence on */
    uint32_t mode;     /**< permission bits, default 0600, whatever the umask: read bits are for
                              both objects, write bits for control; only the owner produces */
    int64_t gid;       /**< owning group, -1 for the caller's */
    int32_t numa_node; /**< operating system index, -1: where the first touch falls */
    uint32_t reserved;
    const char *near_pci; /**< place the memory near this PCI device ("0000:01:00.0"), which must be
                               here; NULL: anywhere, also where slipring_cuda_pci() finds none */
    slipring_log_fn log;
    void *log_user;
};

enum slipring_open_flag {
    SLIPRING_READ_ONLY = 1 << 0, /**< map data alone and announce nothing: overwrite rings only */
    SLIPRING_ANY_OWNER = 1 << 1  /**< accept a ring that another user (not root) owns */
};

/**
 * Set a config to its defaults.
 *
 * @param[out] config  1024 slots, block, mode 0600; the payload (fields or slot_bytes) is yours
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API void slipring_config_init(struct slipring_config *config);

/**
 * Make a ring: sized, placed, allocated and faulted in, then visible all at once or not at all.
 *
 * @param name        NULL: anonymous (memfds; passed on by fork, slipring_ring_send() or fds);
 *                    SLIPRING_AUTO_NAME: a fresh name, see slipring_ring_name(); else 1 to
 *                    SLIPRING_NAME_MAX characters of A-Z a-z 0-9 . _ - + not beginning with '.'
 * @param config      copied
 * @param[out] ring   the handle
 * @param[out] error  cause and cure, or NULL
 * @retval 0          ring is set
 * @retval -EEXIST    the name is taken; the text names owner and age
 * @retval -ENOSPC    no room for the memory; nothing is left behind
 * @retval -EINVAL    an argument, named in the text
 * @retval -EOVERFLOW the sizes do not fit
 * @return            else the negative errno of the system call named in the text
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  the caller, until slipring_ring_close().   Order: release side of INIT.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_create(const char *name,
                                                     const struct slipring_config *config,
                                                     struct slipring_ring **ring,
                                                     struct slipring_error *error);

/**
 * Open a ring by name. A ring that this process has open already is found without a system call.
 *
 * @param name             as given to slipring_ring_create()
 * @param flags            slipring_open_flag
 * @param[out] ring        the handle, shared with other opens of the same ring in this process
 * @param[out] error       cause and cure, or NULL
 * @retval 0               ring is set
 * @retval -ENOENT         no such ring
 * @retval -EBADMSG        not a slipring segment, or a damaged one
 * @retval -EPROTONOSUPPORT other layout version
 * @retval -EPERM          the ring belongs to somebody else (see SLIPRING_ANY_OWNER), or its mode
 *                         does not allow it
 * @retval -EINVAL         name or flags; or read-only on a block ring
 *
 * Thread: any.   Progress: may sleep (lock-free when open already).   Fork: yes.
 * Owner:  the caller, until slipring_ring_close().   Order: acquire side of INIT.
 * Source: the table of open rings is liburcu's rculfhash.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_open(const char *name, uint32_t flags,
                                                   struct slipring_ring **ring,
                                                   struct slipring_error *error);

/**
 * Give a handle back. The memory is unmapped when the last handle, producer, consumer and
 * exported tensor of this ring in this process is gone.
 *
 * @param ring  NULL is allowed
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  ends the caller's reference.   Order: none.
 */
SLIPRING_API void slipring_ring_close(struct slipring_ring *ring);

/**
 * Remove a name. Members that are attached go on; the memory goes with the last of them.
 *
 * @param name        the ring's name
 * @param[out] error  cause and cure, or NULL
 * @retval 0          the name is gone
 * @retval -ENOENT    there was none
 * @retval -EPERM     not yours to remove
 * @retval -EBADMSG   the file of that name is no ring; it was left alone
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  none.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_unlink(const char *name,
                                                     struct slipring_error *error);

/** The ring's name; "" if it is anonymous.
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the ring.   Order: none.
 */
SLIPRING_API const char *slipring_ring_name(const struct slipring_ring *ring);

/**
 * Send the ring over a Unix socket, for slipring_ring_receive() at the other end. Any member can,
 * so that a ring outlives whoever made it; the receiver gets no more rights than the sender has.
 *
 * @param ring        any ring, named or not
 * @param socket      a connected AF_UNIX socket, stream or seqpacket
 * @param flags       0, or SLIPRING_READ_ONLY to hand on the data object alone, without write
 *                    permission
 * @param[out] error  cause and cure, or NULL
 * @retval 0          sent
 * @return            else the negative errno of the system call named in the text
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_send(struct slipring_ring *ring, int socket,
                                                   uint32_t flags, struct slipring_error *error);

/**
 * Receive a ring that slipring_ring_send() sent.
 *
 * @param socket      the other end of the sender's socket
 * @param[out] ring   the handle
 * @param[out] error  cause and cure, or NULL
 * @retval 0          ring is set
 * @retval -EPIPE     the other end closed the socket
 * @return            else as slipring_ring_from_fds()
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  the caller, until slipring_ring_close().   Order: acquire side of INIT.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_receive(int socket, struct slipring_ring **ring,
                                                      struct slipring_error *error);

/**
 * Open a ring from its two descriptors, as inherited or received.
 *
 * @param data_fd     the data object
 * @param control_fd  the control object, or -1: read-only (overwrite rings)
 * @param[out] ring   the handle
 * @param[out] error  cause and cure, or NULL
 * @retval 0          ring is set
 * @retval -EBADMSG   not a slipring segment, a damaged one, or one not sealed against truncation
 * @retval -EPROTONOSUPPORT other layout version
 * @retval -EINVAL    control_fd is -1 and the ring is not an overwrite ring
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  descriptors stay the caller's.   Order: acquire side of INIT.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_from_fds(int data_fd, int control_fd,
                                                       struct slipring_ring **ring,
                                                       struct slipring_error *error);

/**
 * The ring's two descriptors, to be inherited over exec (clear FD_CLOEXEC in the child).
 *
 * @param ring             any ring
 * @param[out] data_fd     the data object
 * @param[out] control_fd  the control object, -1 where only data is mapped
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the ring; do not close them.   Order: none.
 */
SLIPRING_API void slipring_ring_fds(const struct slipring_ring *ring, int *data_fd,
                                    int *control_fd);

enum slipring_pages {
    SLIPRING_PAGES_BASE = 0,
    SLIPRING_PAGES_TRANSPARENT = 1,
    SLIPRING_PAGES_HUGETLB = 2
};

enum slipring_producer_state {
    SLIPRING_PRODUCER_NONE = 0, /**< none yet, or detached */
    SLIPRING_PRODUCER_LIVE = 1,
    SLIPRING_PRODUCER_DEAD = 2,  /**< died without closing */
    SLIPRING_PRODUCER_CLOSED = 3 /**< the stream has ended */
};

/** What was asked for and obtained, and where the ring stands now. */
struct slipring_info {
    uint32_t struct_size; /**< set by the caller */
    uint32_t layout_version;
    uint8_t uuid[16];
    uint32_t geometry, full, flags;
    uint32_t field_count;
    uint64_t slots, slot_bytes; /**< slot_bytes: payload of one slot, by the schema */
    uint64_t payload_stride;    /**< bytes from slot to slot */
    uint64_t data_bytes, control_bytes;
    uint32_t members_max, groups_max, releases_max, hold_max;
    /** oldest: the first sequence sure to be there for who joins now, limit - slots. A nearly full
     * ring announces its limit an eighth of the slots ahead. */
    uint64_t start_sequence, cursor, limit, oldest;
    uint64_t epoch;       /**< producers so far */
    uint32_t producer;    /**< slipring_producer_state */
    int32_t producer_pid; /**< for display only; 0 if none */
    int64_t created_ns;   /**< CLOCK_REALTIME */
    int32_t creator_pid;  /**< for display only */
    uint32_t uid;
    uint32_t pages;        /**< slipring_pages obtained */
    int32_t locked;        /**< 1: mlock succeeded here, 0: not asked, else its negative errno */
    int32_t numa_node;     /**< node of the first payload page, -1 unknown */
    uint32_t members;      /**< cells in use */
    uint32_t orphaned;     /**< 1: its name was removed */
    uint64_t dead_letters; /**< so far, all groups */
};

/** One member, for display. */
struct slipring_member {
    uint32_t struct_size; /**< set by the caller in the first element */
    uint32_t cell;
    int32_t pid;
    uint32_t state; /**< 1 joining, 2 active, 3 evicted, 4 gone, and kept from
                                              others while a device may still store releases */
    uint32_t alive; /**< its lock is held */
    uint32_t flags; /**< slipring_member_flag, SLIPRING_MANY */
    char group[SLIPRING_GROUP_NAME_BYTES]; /**< "" for an unnamed group of one */
    uint64_t released;                     /**< gating sequence of a group of one */
    uint64_t lag;                          /**< cursor minus released */
    uint64_t missed;                       /**< slots lost to overwriting, eviction or newest */
    uint64_t held;                         /**< slots of a group of many, or holds, now in hand */
};

/** One named group, for display. */
struct slipring_group_info {
    uint32_t struct_size; /**< set by the caller in the first element */
    char name[SLIPRING_GROUP_NAME_BYTES];
    uint32_t flags, slow, lasting, members;
    uint64_t evict_after_ns;
    uint64_t position, lag;
    uint64_t dropped;      /**< slots dropped by eviction or with the group's end */
    uint64_t redelivered;  /**< messages that came back after a death or an eviction */
    uint64_t dead_letters; /**< messages given up after five failures */
};

/** A message that five members failed to finish. */
struct slipring_dead_letter {
    uint64_t sequence, tag;
    uint32_t cause; /**< 1 the member died, 2 it was evicted */
    char group[SLIPRING_GROUP_NAME_BYTES];
};

/**
 * Look at a ring. A snapshot: the members go on meanwhile.
 *
 * @param ring          any ring
 * @param[in,out] info  struct_size set by the caller; all else is filled
 * @retval 0            info is set
 * @retval -EINVAL      struct_size is not one that this library knows
 *
 * Thread: any.   Progress: lock-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_info(struct slipring_ring *ring,
                                                   struct slipring_info *info);

/**
 * One field of the schema.
 *
 * @param ring        any ring
 * @param index       0 to field_count - 1
 * @param[out] field  name, dtype, shape
 * @param[out] offset bytes from the start of the slot's payload; NULL is allowed
 * @retval 0          set
 * @retval -EINVAL    no such field
 *
 * Thread: any.   Progress: wait-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_field(const struct slipring_ring *ring,
                                                    uint32_t index, struct slipring_field *field,
                                                    uint64_t *offset);

/**
 * The members, groups, or dead letters (newest first) of a ring, for display.
 *
 * @param ring        any ring; one opened read-only shows none
 * @param[out] array  room for max elements, struct_size set in the first
 * @param max         elements
 * @return            elements that there are, of which the first max are filled; or -EINVAL
 *
 * Thread: any.   Progress: lock-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_members(struct slipring_ring *ring,
                                                      struct slipring_member *array, uint32_t max);
/** As slipring_ring_members(), for named groups.
 *
 * Thread: any.   Progress: lock-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int
slipring_ring_groups(struct slipring_ring *ring, struct slipring_group_info *array, uint32_t max);
/** As slipring_ring_members(), for the last 64 dead letters.
 *
 * Thread: any.   Progress: lock-free.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_dead_letters(struct slipring_ring *ring,
                                                           struct slipring_dead_letter *array,
                                                           uint32_t max);

/** What slipring_ring_list() tells about a name. */
enum slipring_listed {
    SLIPRING_LISTED_RING = 0,
    SLIPRING_LISTED_LITTER = 1,
    SLIPRING_LISTED_DENIED = 2
};

/**
 * Name every ring of this machine that the caller may see.
 *
 * @param each        called for each; a non-zero return ends the listing
 * @param user        handed to each
 * @return            what each returned last, 0 if never called, or a negative errno
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  name is the library's until each returns.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_list(int (*each)(void *user, const char *name,
                                                               enum slipring_listed kind),
                                                   void *user);

/** What slipring_ring_reap() did. */
struct slipring_reaped {
    uint32_t members; /**< cells of dead processes freed */
    uint32_t rings;   /**< vanishing rings removed, whose last member was killed */
    uint32_t litter;  /**< half-made objects removed */
};

/**
 * Remove what the dead left behind: their cells, what they held, vanishing rings with no handle
 * open anywhere, and half-made rings. Persistent rings stay: they are what recovery starts from.
 *
 * @param name        one ring, or NULL for all that the caller may open
 * @param[out] reaped counts
 * @param[out] error  cause and cure, or NULL
 * @retval 0          done
 * @retval -ENOENT    no ring of that name
 * @return            else as slipring_ring_open()
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  the caller keeps all.   Order: REAP.
 */
SLIPRING_API SLIPRING_CHECK int slipring_ring_reap(const char *name, struct slipring_reaped *reaped,
                                                   struct slipring_error *error);

/**
 * Choose a processor for the producer and for each consumer such that they share a last-level
 * cache, as far as the process's affinity mask allows.
 *
 * @param[out] cpus   operating system indices: the producer's first, then the consumers'
 * @param count       how many are wanted
 * @return            how many distinct processors sharing one cache were set; cpus beyond that
 *                    repeat them; or -ENOTSUP where the topology is unknown
 *
 * Thread: any.   Progress: may sleep.   Fork: yes.
 * Owner:  the caller keeps all.   Order: none.
 */
SLIPRING_API SLIPRING_CHECK int slipring_near_cpus(int *cpus, uint32_t count);

#ifdef __cplusplus
}
#endif
#endif
