/* The protocol core's whole interface: one event in, ordered actions out.
 *
 * cffi reads this file (without its preprocessor lines), and so do the engine and the simulator.
 * The core does no I/O, reads no clock, allocates nothing and never touches page bytes: its state
 * lives in one arena that the caller gives (position independent: it may be copied with memcpy),
 * and everything slow or real is an action whose result, if it has one, comes back as an event.
 *
 * Words used everywhere: a *host* is the unit of coherence; a *client* is a local process slot
 * (0..DSM_MAX_CLIENTS-1); a *page id* is region << 32 | index; a *request* (req) is a local call
 * that waits, named by a number that the caller chose; a *stamp* is a position in the master's log.
 */
#ifndef DSM_CORE_CORE_H
#define DSM_CORE_CORE_H
#include <stdint.h>

enum {
    DSM_MASTER = 0xffff,  /* the master's host number */
    DSM_NO_HOST = 0xfffe, /* "not known" where a host is expected */
    DSM_MAX_HOSTS = 256,
    DSM_MAX_CLIENTS = 1024,
    DSM_SLICE = 64,       /* most pages one step compares or sends */
    DSM_EVICT_MAX = 1024, /* most pages one DSM_EV_EVICT gives up */
    DSM_BIND_MAX = 256,   /* most pages one DSM_EV_BIND binds */
};

/* What dsm_*_step returns. Negative: the event was refused and the state is unchanged. */
enum {
    DSM_OK = 0,
    DSM_E_PEER = -10001,   /* a peer's message was malformed or impossible: drop that peer */
    DSM_E_EVENT = -10002,  /* the caller's event makes no sense */
    DSM_E_MEMORY = -10003, /* the arena is full */
};

/* Which of a host's connections a message takes. To and from the master there is one (FAST). */
enum { DSM_FAST = 0, DSM_BULK = 1 };

/* ---- events of a host -------------------------------------------------------------------- */
enum {
    /* host, client = channel, bytes/len: one whole message from a peer or the master */
    DSM_EV_MESSAGE = 1,
    DSM_EV_READ_FAULT = 2, /* client, id = page */
    DSM_EV_WRITE_FAULT = 3,
    /* id = page, arg = bytes of the encoded diff (0: no byte differs); bytes/len: the diff */
    DSM_EV_DIFFED = 4,
    DSM_EV_WORDED = 5,  /* id = lock, arg = result of DSM_WORD_TAKE, _SEIZE */
    DSM_EV_MORE = 6,    /* asked for by DSM_ACT_MORE */
    DSM_EV_TICK = 7,    /* every DSMPROC_TICK: the polling tick */
    DSM_EV_PUBLISH = 8, /* req -> REPLY(DSM_ST_OK, arg = stamp) */
    DSM_EV_OBSERVE = 9, /* req, arg = stamp (UINT64_MAX: the master's newest) -> REPLY(DSM_ST_OK) */
    DSM_EV_ATTACH = 10, /* req, client, id = region -> REPLY(status, arg = number of pages) */
    DSM_EV_DETACH = 11, /* client, id = region */
    DSM_EV_CLIENT_GONE = 12, /* client; the caller has cancelled its requests and detached it */
    DSM_EV_HOST_LOST = 13,   /* host */
    DSM_EV_CANCEL = 14,      /* req: answered DSM_ST_CANCELLED, unless its answer is on the way */
    DSM_EV_LOCK_OPEN = 15,   /* id: sets the lock's word; before any other use of it */
    DSM_EV_LOCK = 16,        /* req, client, id, arg = 1: do not wait for a held lock */
    /* req, id: when the word says WANTED or ABSENT; arg = pid: its holder, which has died, whatever
     * the word says */
    DSM_EV_UNLOCK = 17,
    DSM_EV_CALL = 18, /* req, id, arg = DSM_CALL_*, bytes/len = its three 64-bit arguments */
    /* arg: give up so many pages that are not needed, if there are; client = 1: memory is short
     * from now on, so no homes move here; 0: it is not */
    DSM_EV_EVICT = 20,
    DSM_EV_HAND = 19, /* id = page, arg = count, host: give those at home here to it */
    /* id = page, client = count: bound to lock arg (0: to some lock); req = 1: their changes are
     * too large to travel, only the master is told */
    DSM_EV_BIND = 21,
    /* req, bytes/len = bit set of all other hosts, 4 x u64: all pages at home here move to them.
     * REPLY(DSM_ST_OK, arg = pages that no host is left to take) when the master knows it. From
     * then on this host is deaf to the others: end it. One that leaves already must have been told
     * of this host by its own event, or have been cut off: else it could be handed pages. */
    DSM_EV_LEAVE = 22,
    DSM_EV_CONSISTENT =
        23, /* req, id: its holder says that what it guards is right (host/lock.c) */
};

/* ---- actions of a host, in the order in which they must be done -------------------------- */
enum {
    /* Send a message: host, channel, off/len = its bytes in out->bytes, then `count` actions of
     * kind PAYLOAD_* follow, whose bytes are appended to the message in that order. */
    DSM_ACT_SEND = 1,
    DSM_ACT_PAYLOAD_PAGES = 2,  /* id = first page, count = pages: their bytes as they are now */
    DSM_ACT_PAYLOAD_DIFF = 3,   /* id = page: the diff kept since its COMPARE, until UNDIFF */
    DSM_ACT_PAYLOAD_TWINS = 26, /* id, count: what these pages' twins hold (none: zeros) */
    /* Let `client` use pages id..id+count-1 (resident now), read-only or, flag = 1, writable, and
     * wake its threads parked on them. A dead client is ignored. */
    DSM_ACT_MAP = 4,
    DSM_ACT_PROTECT = 5, /* id, count: read-only from here on in every client */
    DSM_ACT_PUNCH = 6,   /* id, count: out of the cache, in every client; wake the parked ones */
    DSM_ACT_ZERO = 7,    /* id, count: resident; pages that were not hold zeros, others stay */
    DSM_ACT_FILL = 8,    /* id, count, off: page bytes from offset `off` of the event's message */
    /* id, off, len, flag: apply the diff at offset `off` of the event's message; flag = 1: to the
     * page's twin as well. */
    DSM_ACT_APPLY = 9,
    /* id, count: keep copies of these pages (a dirty page without twin: twin of zeros) */
    DSM_ACT_TWIN = 10,
    DSM_ACT_UNTWIN = 11, /* id, count: forget the twins, where there are some */
    /* id, off, flag: the page at offset `off` of the event's message replaces this one; flag = 1:
     * the bytes that differ from the twin (none: zeros) stay as they are; then forget the twin. */
    DSM_ACT_MERGE = 22,
    /* id, flag: compare page and twin byte by byte, keep the encoded diff for PAYLOAD_DIFF, and
     * feed DSM_EV_DIFFED before any other event. flag = 1: the page may be written meanwhile; the
     * words read (each once) become the new twin. An empty diff is not kept. flag = 2
     * (DSM_COMPARE_LOOK): only say whether they differ (arg != 0), and keep nothing. */
    DSM_ACT_COMPARE = 12,
    DSM_ACT_UNDIFF = 13, /* id, count: forget the diffs kept for these pages */
    DSM_ACT_POISON = 14, /* id, client: it waits for a page whose only copy was lost with `host` */
    /* id = lock, flag = DSM_WORD_*, client, arg: change the lock's word in the control segment,
     * then feed DSM_EV_WORDED before any other event if flag is DSM_WORD_TAKE or DSM_WORD_SEIZE. */
    DSM_ACT_WORD = 15,
    DSM_ACT_REPLY = 16,      /* req, flag = DSM_ST_* status, arg = result */
    DSM_ACT_REGION = 17,     /* id = region, arg = pages: make its memory; before any page of it */
    DSM_ACT_REGION_END = 18, /* id = region: give its memory back; nobody here uses it */
    /* Feed DSM_EV_MORE soon, but faults and other work may go first; arg: after so many
     * microseconds at the earliest. */
    DSM_ACT_MORE = 19,
    DSM_ACT_CLOSE = 23, /* id, count: out of every client's reach; the content stays */
    /* id, off, len: apply the diff at offset `off` of out->bytes */
    DSM_ACT_APPLY_KEPT = 24,
    DSM_ACT_COUNT = 20, /* flag = DSM_COUNT_*, arg: add to a counter of dsmproc.stats() */
    DSM_ACT_CUT = 25,   /* (master) host: all are cut off from it, what it held has passed on */
    /* (master) id = lock, host: that had its token, and is lost; arg = how many locks are so, of
     * which DSM_NAMED are named */
    DSM_ACT_OWNER_DIED = 27,
};

enum { DSM_NAMED = 8 };

enum { DSM_COMPARE_LOOK = 2 };

/* Status in DSM_ACT_REPLY. */
enum {
    DSM_ST_OK = 0,
    DSM_ST_CANCELLED = 1, /* by DSM_EV_CANCEL */
    DSM_ST_BUSY = 2,      /* a lock or semaphore that was not to be waited for is held */
    DSM_ST_NO_REGION = 3,
    DSM_ST_TOO_OFTEN = 4, /* released more often than acquired (or above its bound) */
    DSM_ST_BROKEN = 5,    /* the barrier is broken: arg = DSM_BROKE_* << 16 | a host */
    DSM_ST_ACTION = 6,    /* the barrier is full: this party runs the action, then BAR_DONE */
    DSM_ST_HOST_LOST = 7, /* arg = the host */
};

/* What broke a barrier. */
enum {
    DSM_BROKE_RESET = 1,
    DSM_BROKE_ABORT = 2, /* or the end of the process that ran the action */
    DSM_BROKE_LEFT = 3,  /* a process gave up, or ended */
    DSM_BROKE_LOST = 4,  /* the host was lost */
};

/* A lock's word (32 bits: client's pid << 2 | state) and what DSM_ACT_WORD does with it.
 * A client takes FREE -> HELD(pid) and gives HELD -> FREE by compare-and-swap; all else, and a
 * release of HELD_WANTED, goes through the engine. */
enum { DSM_LOCK_ABSENT = 0, DSM_LOCK_FREE = 1, DSM_LOCK_HELD = 2, DSM_LOCK_HELD_WANTED = 3 };
enum {
    DSM_WORD_ABSENT = 0, /* the token is not here */
    DSM_WORD_FREE = 1,
    DSM_WORD_HELD = 2,   /* by `client` */
    DSM_WORD_WANTED = 3, /* by `client`, and the release must go through the engine */
    DSM_WORD_TAKE = 4,   /* FREE -> ABSENT: DSM_EV_WORDED arg = 1. HELD* -> HELD_WANTED: arg = 0 */
    /* HELD* (by the process arg, if that is not 0) -> ABSENT: DSM_EV_WORDED arg = 1. Else
     * unchanged: arg = 0 */
    DSM_WORD_SEIZE = 5,
    /* Beside the word, for who holds the lock next: a holder has died, and none has said since that
     * what the lock guards is right. CONSISTENT: no more. */
    DSM_WORD_DIED = 6,
    DSM_WORD_CONSISTENT = 7,
};

/* Operations kept at the master, in DSM_EV_CALL.arg. The id is the object's; it is made there by
 * its first use, so every call carries what the object was made with. Arguments a, b, c:
 *   semaphore: a = initial value, b = bound (0: none), c = 1: do not wait / permits to release /
 *              those to wake, at most
 *   barrier:   a = parties, b = 1 if it has an action */
enum {
    DSM_CALL_SEM_ACQUIRE = 1,
    DSM_CALL_SEM_RELEASE = 2, /* publishes first */
    DSM_CALL_SEM_VALUE = 3,   /* -> arg = permits, and those asleep */
    DSM_CALL_SEM_SLEEP = 4,   /* until a SEM_WAKE; takes no permit */
    DSM_CALL_SEM_WAKE = 5,    /* publishes first; leaves no permit */
    DSM_CALL_BAR_WAIT = 6,    /* publishes first; -> OK arg = index | ACTION arg = index | BROKEN */
    DSM_CALL_BAR_DONE = 7,    /* publishes first: the action is done, let the others go */
    DSM_CALL_BAR_ABORT = 8,
    DSM_CALL_BAR_RESET = 9,
    DSM_CALL_BAR_STATE = 10, /* -> arg = waiting parties | broken << 32 */
    DSM_CALL_UNLOCK = 11,    /* the core's own: a lock released where its token is not */
    DSM_CALL_LEAVE = 12,     /* the core's own: all that this host had is handed over */
};

/* Counters (DSM_ACT_COUNT); messages and bytes are counted by the engine. */
enum {
    DSM_COUNT_READ_FAULTS = 0,
    DSM_COUNT_WRITE_FAULTS = 1,
    DSM_COUNT_PAGES_FETCHED = 2,
    DSM_COUNT_DIFFS_SENT = 3,
    DSM_COUNT_DIFF_BYTES = 4,
    DSM_COUNT_NOTICES_RECEIVED = 5, /* pages named in notices */
    DSM_COUNT_INVALIDATIONS = 6,
    DSM_COUNT_HOME_MIGRATIONS = 7,
    DSM_COUNT_LOCK_REMOTE = 8, /* tokens that came from another host */
    DSM_COUNT_BARRIERS = 9,
    DSM_COUNT_PUBLISHES = 10,
    DSM_COUNT_EVICTIONS = 11, /* copies given up for want of memory */
    DSM_COUNT_UPDATES = 12, /* changes stored into a copy, which an invalidation would have ended */
    DSM_COUNT_BYTES_KEPT = 13,    /* of diffs that their writer keeps (host/homeless.c) */
    DSM_COUNT_BYTES_DROPPED = 14, /* ... and does not keep any more */
    DSM_COUNT_KINDS = 15,
};

/* ---- events and actions of the master ---------------------------------------------------- */
/* The master's events are DSM_EV_MESSAGE, DSM_EV_HOST_LOST and these; its actions are DSM_ACT_SEND
 * (to hosts, without payload), DSM_ACT_REGION_END (no host uses the unlinked region any more),
 * DSM_ACT_CUT and DSM_ACT_OWNER_DIED.
 */
enum {
    DSM_EV_HOST_JOINED = 32,   /* host: it has seen all up to now (it holds nothing yet) */
    DSM_EV_REGION_MADE = 33,   /* id = region, arg = pages, client = DSM_HOME_*, host = hosts */
    DSM_EV_REGION_UNLINK = 34, /* id = region: ends when no host has it attached any more */
};

/* Where pages live (policy.h). */
enum {
    DSM_HOME_FIRST = 0,
    DSM_HOME_FIXED = 1,
    DSM_HOME_BARRIER = 2,
    DSM_HOME_MIGRATING = 3,
    DSM_HOME_ADAPTIVE = 4,
    DSM_HOME_HOMELESS = 5,
    DSM_HOME_BLOCKS = 6,
    DSM_HOME_POLICIES = 7,
};

/* Consistency models. They differ in what a lock does; all other acquires tell everything.
 *   LRC  a lock's grant tells everything, too
 *   EC   (Midway) it tells what changed in pages bound to that lock
 *   SCC  (JUMP, JIAJIA) it tells what was written while that lock was held
 *   ERC  (Munin) a release tells all hosts, and ends when they have invalidated their copies
 *   SC   (IVY) nothing is to be told: a page is written by one host alone, or read by several */
enum { DSM_LRC = 0, DSM_EC = 1, DSM_SCC = 2, DSM_ERC = 3, DSM_SC = 4 };

struct dsm_event {
    uint32_t kind;
    uint32_t host;
    uint32_t client;
    uint32_t len;
    uint64_t id;
    uint64_t req;
    uint64_t arg;
    const uint8_t *bytes;
};

struct dsm_action {
    uint32_t kind;
    uint32_t host;
    uint32_t client;
    uint32_t channel;
    uint32_t count;
    uint32_t flag;
    uint32_t off;
    uint32_t len;
    uint64_t id;
    uint64_t req;
    uint64_t arg;
};

/* Filled by a step from empty. Running out of it is a bug of the core: it asserts. */
struct dsm_out {
    struct dsm_action *actions;
    uint8_t *bytes;
    uint32_t nactions, max_actions; /* reserve 1 << 20 for a real host, 4096 in small worlds */
    uint32_t nbytes, max_bytes;     /* reserve 64 MiB for a real host, 256 KiB in small worlds */
};

/* What clients read without asking: stored in the control segment after each step, `out` and
 * `seen` before `busy` is cleared, `busy` set before any DSM_ACT_MAP of that step is done. */
struct dsm_summary {
    uint64_t seen;    /* every notice up to here is finished here */
    uint64_t out;     /* max(published, seen): goes into messages */
    uint32_t busy;    /* 0: a publish has nothing to do and returns `out` */
    uint32_t waiting; /* requests without answer, for checks */
};

struct dsm_config {
    uint32_t host;
    uint32_t page_size; /* 16 .. 32768, a power of two */
    uint32_t run;       /* pages that are here, mapped by one fault (1 .. 64), a power of two */
    uint32_t most;      /* most pages a fault brings when faults come in a row (1 .. 64) */
    uint32_t ahead;     /* pages asked for ahead by rows that bring that many */
    uint32_t hot;       /* publishes with changes after which a page stays writable (0: never) */
    uint32_t grants;    /* local grants of a lock while another host waits for it */
    uint32_t carry;     /* bytes of a bound page's diff that go with a notice (0: none); the master:
                           how many it keeps of a page */
    uint32_t
        feed; /* notices followed by a fetch after which a home feeds (host/feed.c; 0: never) */
    uint32_t model;     /* DSM_LRC, ...: the same at the master and at all hosts */
    uint64_t keep;      /* bytes of kept diffs above which they are collected (host/collect.c) */
    uint64_t rules_off; /* bit set of DSM_RULE_*; heeded only by the mutation build */
};

/* The rules of docs/protocol.md, as bits: the mutation build (-DDSM_MUTATE) switches them off. */
enum {
    DSM_RULE_ACK = 0,         /* no stamp before the homes have acknowledged the diffs */
    DSM_RULE_FLUSH = 1,       /* an invalidated dirty page is diffed and sent before the punch */
    DSM_RULE_CROSSED = 2,     /* a reply that crossed an invalidation is dropped */
    DSM_RULE_ONE_DIFF = 3,    /* one unacknowledged diff a page, no fetch while there is one */
    DSM_RULE_BYTES = 4,       /* diffs are byte exact (off: whole words of 8) */
    DSM_RULE_FETCHED = 5,     /* a home page is protected before its first copy is given */
    DSM_RULE_OWED = 6,        /* pages flushed early are announced by the next publish */
    DSM_RULE_TWO_NUMBERS = 7, /* seen is not advanced by one's own publish */
    DSM_RULE_CLAIM = 8,       /* a home is claimed before the publish that names it */
    DSM_RULE_LATE = 9,        /* a late attach starts with the list of noticed pages */
    DSM_RULE_OVERLAP = 10,    /* a publish waits for the one that runs */
    DSM_RULE_OTHER_HOST = 11, /* the last stamp by any other host is kept beside the last */
    DSM_RULE_LOOK = 12, /* an opened page is unwritten only if it was so when protected (look.c) */
    DSM_RULE_FORWARD = 13, /* a diff that reaches a host that is not home goes to the one that is */
    DSM_RULE_COUNTED = 14, /* a home goes without its page only if the copy there is equal */
    DSM_RULE_SINCE = 15,   /* an update is told only to who was told all changes before it */
    DSM_RULE_ONCE = 16,    /* ... and once */
    DSM_RULE_WHOLE = 17,   /* a diff is told for a notice only if it is all that changed */
    DSM_RULE_TWINNED = 18, /* an update of a written copy goes into its twin too */
    DSM_RULE_WATCHED = 19, /* writes at home are noticed while copies live on updates */
    DSM_RULE_APART = 20,   /* ... and what others write there goes into that twin too */
    DSM_RULE_NEWEST = 21,  /* a copy becomes the page only if nothing newer was announced */
    DSM_RULE_APPLIED = 22, /* ... and no other host's changes were applied at the lost home */
    DSM_RULE_KEPT = 23,    /* a diff that a lost home did not acknowledge is sent again */
    DSM_RULE_CUT = 24,     /* what a lost host sent is not heard any more */
    DSM_RULE_GRANTED = 25, /* EC: what a grant told is not told again */
    DSM_RULE_SHARED = 26,  /* EC: every grant tells of a page that is bound to several locks */
    DSM_RULE_OUTER = 27,  /* SCC: what is written belongs to all scopes that are open, not to one */
    DSM_RULE_OPENED = 28, /* SCC: what a host that only releases a lock wrote belongs to it, too */
    DSM_RULE_KNOWN = 29,  /* ERC: a release waits until all hosts have invalidated */
    DSM_RULE_NOTICED = 30,   /* SCC: a page at home is protected again by each publish */
    DSM_RULE_TAGGED = 31,    /* homeless: diffs are applied in the order in which they happened */
    DSM_RULE_COLLECTED = 32, /* homeless: a diff is kept until the base has applied it */
    DSM_RULE_MINE = 33,      /* homeless: own diffs are put back on the base */
    DSM_RULE_STAMPED = 34,   /* homeless: the base observes before it takes diffs in */
    DSM_RULE_ALONE = 35,     /* SC: a page is written when all others have given it up */
    DSM_RULE_LENT = 36, /* what is given of a page is what was announced, or will be announced */
    DSM_RULE_ZERO = 37, /* a page that holds zeros again, and was never announced, needs no home */
    DSM_RULE_OWNER_DIED = 38, /* that a lock's holder died goes with its token */
    DSM_RULE_OUTRUN = 39, /* homeless: a base that lacks dropped diffs of its taker is asked anew */
    DSM_RULE_LEFT = 40,   /* what a lost host left unannounced at its homes they announce */
    DSM_RULE_GATE = 41,   /* what the master said waits for the invalidations before it */
    DSM_RULES = 42,
};

struct dsm_host;
struct dsm_master;

/* Make a host or a master at the start of `arena` (16-byte aligned, zeroed). NULL: too small. */
struct dsm_host *dsm_host_init(void *arena, uint64_t bytes, const struct dsm_config *config);
struct dsm_master *dsm_master_init(void *arena, uint64_t bytes, const struct dsm_config *config);
int dsm_host_step(struct dsm_host *host, const struct dsm_event *event, struct dsm_out *out);
int dsm_master_step(struct dsm_master *master, const struct dsm_event *event, struct dsm_out *out);
void dsm_host_summary(const struct dsm_host *host, struct dsm_summary *summary);
/* All invariants; 0, or the number of the violated one (see the file heads). */
int dsm_host_check(const struct dsm_host *host);
int dsm_master_check(const struct dsm_master *master);
/* What this host thinks of a page, for tests and dumps: state | flags << 8 | home << 32. */
uint64_t dsm_host_page(const struct dsm_host *host, uint64_t page);
const char *dsm_page_state_name(uint32_t state);

/* Diffs: pure functions on buffers. Encode returns the length (0: equal); `twin` NULL means zeros;
 * each word of `page` is read once, into `snapshot` (page_size bytes); `diff` has room for
 * dsm_diff_max(page_size). Apply checks all before it stores a byte: DSM_OK or DSM_E_PEER. */
uint32_t dsm_diff_max(uint32_t page_size);
uint32_t dsm_diff_encode(const uint8_t *page, const uint8_t *twin, uint8_t *snapshot,
                         uint32_t page_size, uint8_t *diff);
int dsm_diff_apply(uint8_t *page, uint32_t page_size, const uint8_t *diff, uint32_t len);

/* Pages on the wire (pack.c): pure functions on buffers; page_size is a multiple of 32. Pack leaves
 * `count` pages packed where they are, and returns their length; 0: it would not pay, and they are
 * as they were. Packed returns how many of the `len` bytes, at their end, are `count` packed pages;
 * 0: they cannot be, and must not be unpacked. */
enum { DSM_PACK_MOST = 64 };
uint32_t dsm_pack(uint8_t *pages, uint32_t count, uint32_t page_size);
uint32_t dsm_packed(const uint8_t *bytes, uint32_t len, uint32_t count, uint32_t page_size);
void dsm_unpack(const uint8_t *bytes, uint32_t len, uint32_t count, uint32_t page_size,
                uint8_t *pages);

#endif
