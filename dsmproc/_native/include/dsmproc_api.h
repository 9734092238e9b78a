/* What Python sees of the native side. cffi reads this file without its preprocessor lines.
 *
 * Two halves. An *engine* is one native thread that plays a host's agent or the master; it never
 * needs Python. A *client* is any process that maps regions or takes locks; its functions run in
 * the calling thread (cffi lets go of the GIL meanwhile). Functions return 0 or a negative errno
 * unless said otherwise. Any thread may call any function, but one connection serves one thread.
 */
#ifndef DSMPROC_API_H
#define DSMPROC_API_H
#include <stddef.h>
#include <stdint.h>

struct dsmproc_engine;

enum { DSMPROC_AGENT = 1, DSMPROC_MASTER = 2 };

struct dsmproc_options {
    uint32_t role;
    uint32_t host;         /* an agent's own number */
    uint32_t run;          /* see struct dsm_config */
    uint32_t most;         /* see struct dsm_config */
    uint32_t ahead;        /* see struct dsm_config */
    uint32_t hot;          /* see struct dsm_config */
    uint32_t grants;       /* see struct dsm_config */
    uint32_t carry;        /* see struct dsm_config */
    uint32_t feed;         /* see struct dsm_config */
    uint32_t model;        /* see struct dsm_config */
    uint32_t tick_ms;      /* 0: no tick */
    uint32_t beat_ms;      /* how often every peer hears from this engine; 0: never */
    uint32_t silent_beats; /* so many without a byte from it, and a peer is lost */
    uint64_t keep;         /* see struct dsm_config */
    uint64_t memory;       /* bytes that pages may take before copies are given up (0: no limit) */
    uint64_t arena;        /* bytes of address space for the protocol's state */
};

/* ---- engine: commands in, notices out ----------------------------------------------------- */
/* A command is done later, by the engine's thread, in the order of the calls. Descriptors that a
 * command carries belong to the engine from then on, also if it fails. */
enum {
    DSMPROC_CMD_ADD_PEER = 1,   /* fd, host, channel; sealed and keys if frames have tags */
    DSMPROC_CMD_ADD_CLIENT = 2, /* fd, pid: a client's connection, authenticated already */
    /* pid: by a signal; locks held by it are freed, and that is noted with this arg */
    DSMPROC_CMD_CLIENT_DIED = 3,
    DSMPROC_CMD_HOST_JOINED = 4,   /* host (master) */
    DSMPROC_CMD_HOST_LOST = 5,     /* host */
    DSMPROC_CMD_REGION_MADE = 6,   /* id, arg = pages, channel = home policy, host = hosts */
    DSMPROC_CMD_REGION_UNLINK = 7, /* id (master) */
    DSMPROC_CMD_CHECK = 8,   /* run the core's invariants; a CHECKED notice says arg = result */
    DSMPROC_CMD_MEASURE = 9, /* sets DSMPROC_STAT_MEMORY (agent) */
};

struct dsmproc_command {
    uint32_t kind;
    uint32_t host;
    uint32_t channel;
    uint32_t pid;
    int32_t fd;
    uint32_t sealed;
    uint64_t id;
    uint64_t arg;
    uint8_t send_key[16], receive_key[16];
};

/* The tag of a frame whose number in its direction is `number` (sys/seal.h), for tests. */
void dsmproc_frame_tag(const uint8_t *key, uint64_t number, const uint8_t *bytes, size_t len,
                       uint8_t *tag);

enum {
    DSMPROC_NOTE_PEER_LOST = 1,   /* host, channel, error: its connections are closed */
    DSMPROC_NOTE_CLIENT_GONE = 2, /* pid: its last connection closed, or it exited */
    DSMPROC_NOTE_REGION_END = 3,  /* id: (master) no host uses the unlinked region any more */
    DSMPROC_NOTE_POISONED = 4,    /* id = page, host = the lost one, pid = whom it will end */
    DSMPROC_NOTE_FATAL = 5,       /* the engine cannot go on; text says why */
    DSMPROC_NOTE_LOG = 6,         /* text */
    DSMPROC_NOTE_CHECKED = 7,     /* arg = 0, or the number of the violated invariant */
    DSMPROC_NOTE_CUT = 8,         /* host: (master) lost, and nobody hears it any more */
    /* id = lock, pid: held it, arg of CLIENT_DIED; or (master) as DSM_ACT_OWNER_DIED */
    DSMPROC_NOTE_OWNER_DIED = 9,
};

struct dsmproc_notice {
    uint32_t kind;
    uint32_t host;
    uint32_t channel;
    uint32_t pid;
    int32_t error;
    uint32_t unused;
    uint64_t id;
    uint64_t arg;
    char text[160];
};

/* What dsmproc_engine_stats fills in: the core's counters DSM_COUNT_*, then these. */
enum {
    DSMPROC_STAT_LOCK_LOCAL = 16,
    DSMPROC_STAT_MESSAGES_SENT = 17, /* writes that joined everything for a peer in one turn */
    DSMPROC_STAT_BYTES_SENT = 18,    /* as dsmproc_traffic has it */
    DSMPROC_STAT_FRAMES_SENT = 19,
    DSMPROC_STAT_TICK_FRAMES = 20, /* of those, made by the polling tick itself */
    DSMPROC_STAT_CLIENTS = 21,     /* processes attached now */
    DSMPROC_STAT_REGIONS = 22,     /* regions with memory now */
    DSMPROC_STAT_TWINS = 23,       /* pages with a twin now */
    DSMPROC_STAT_DIFFS = 24,       /* diffs kept now */
    DSMPROC_STAT_MEMORY = 25,      /* bytes that pages and twins took at the last MEASURE */
    DSMPROC_STATS = 26,
};

int dsmproc_engine_start(const struct dsmproc_options *options, struct dsmproc_engine **engine);
/* Ends the thread, closes all that it holds and frees the engine. */
void dsmproc_engine_stop(struct dsmproc_engine *engine);
int dsmproc_engine_command(struct dsmproc_engine *engine, const struct dsmproc_command *command);
/* Returns when all commands given before are done: 0, or why one of them was refused. */
int dsmproc_engine_settle(struct dsmproc_engine *engine);
/* Readable while notices wait. */
int dsmproc_engine_fd(struct dsmproc_engine *engine);
/* 1: took one notice; 0: there is none. */
int dsmproc_engine_notice(struct dsmproc_engine *engine, struct dsmproc_notice *notice);
void dsmproc_engine_stats(struct dsmproc_engine *engine, uint64_t *stats);
/* What a TCP connection has cost the network in each direction, headers included. */
void dsmproc_traffic(int fd, uint64_t *sent, uint64_t *received);

/* ---- client: memory ------------------------------------------------------------------------ */
/* The best mechanism that works here: 1 full userfaultfd, 2 user-mode-only, 3 mprotect and SIGSEGV,
 * and then `why` says why not the others. Negative, and `why`: `force` names none that works. */
int dsmproc_faults_probe(const char *force, char *why, size_t room);
int dsmproc_faults_open(int mechanism);
void dsmproc_faults_close(int faults);
/* (3) After faulthandler took the signal SIGSEGV, or (removed = 1) gave it back: take it again. */
void dsmproc_faults_arm(int removed);
/* A region's memory in this process; no address: it is not mapped. */
struct dsmproc_mapping {
    uint64_t address, bytes;
};
struct dsmproc_request;
/* Map the region whose ATTACH was answered, so that its faults go to `faults` and fork does not
 * inherit it. The request's descriptor is closed. */
int dsmproc_region_map(int faults, struct dsmproc_request *attach, struct dsmproc_mapping *mapping);
/* Nothing refers to it any more: `first` is what Python kept of it. Once, whoever asks. */
void dsmproc_region_unmap(struct dsmproc_mapping *mapping, void *first);
/* The same in a forked child: where the parent has it. */
int dsmproc_region_remap(int faults, struct dsmproc_request *attach,
                         struct dsmproc_mapping *mapping);

/* ---- client: requests ---------------------------------------------------------------------- */
enum {
    DSMPROC_OP_HELLO =
        1, /* a = 1: this process's first connection -> slot, and the control memfd */
    DSMPROC_OP_FAULTS = 2,    /* a = mechanism, and its descriptor; once, before any MAPPED */
    DSMPROC_OP_ATTACH = 3,    /* id = region -> pages, and the region's memfd */
    DSMPROC_OP_MAPPED = 4,    /* id = region, a = address: now its faults are served */
    DSMPROC_OP_DETACH = 5,    /* id = region; then unmap it */
    DSMPROC_OP_PUBLISH = 6,   /* -> stamp */
    DSMPROC_OP_OBSERVE = 7,   /* a = stamp, UINT64_MAX: the newest */
    DSMPROC_OP_LOCK_OPEN = 8, /* id -> slot in the control segment */
    DSMPROC_OP_LOCK = 9,      /* id, a = 1: do not wait */
    DSMPROC_OP_UNLOCK = 10,   /* id */
    DSMPROC_OP_CALL = 11,     /* id, op = DSM_CALL_*, a, b, c */
    DSMPROC_OP_CANCEL = 12, /* the request under way; it alone is answered, with CANCELLED or not */
    DSMPROC_OP_ID = 13,     /* -> a number that no object in the cluster has */
    DSMPROC_OP_BIND = 14,   /* id = page, a = count: bound to lock b (0: some lock); c = 1: large */
    /* id, a, b, c = bit set of the other hosts: the agent itself leaves (DSM_EV_LEAVE) */
    DSMPROC_OP_LEAVE = 15,
    DSMPROC_OP_CONSISTENT = 16, /* id: what this lock guards is right again */
};

/* Statuses beside the core's DSM_ST_*. */
enum {
    DSMPROC_ST_FULL = 100,   /* no room: processes of a host, or locks */
    DSMPROC_ST_WRONG = 101,  /* the request makes no sense in this state */
    DSMPROC_ST_SYSTEM = 102, /* value = errno: the system refused, e.g. memory */
    DSMPROC_ST_MEMORY = 103, /* value = the limit (bytes), which pages at home here fill */
    DSMPROC_ST_FILES = 104,  /* value = the limit of open files, nearly all of which are */
};

/* What status says of a request before it has an answer. */
enum { DSMPROC_ST_IDLE = 200, DSMPROC_ST_WAITING = 201 }; /* not sent; sent */
enum { DSMPROC_BEGUN = 1 }; /* value of one that is WAITING: the master hears of it (SEM_SLEEP) */

struct dsmproc_quick;

/* A request and its answer. A signal handler's exception can come between any two calls from
 * Python, and takes with it what the first one returned: so whatever must not be lost is kept here,
 * and changed by these functions alone. */
struct dsmproc_request {
    uint32_t kind;
    uint32_t op;
    uint64_t id;
    uint64_t a, b, c;
    struct dsmproc_quick *lock; /* NULL, or what this process has of a lock or semaphore */
    int32_t pass;               /* a descriptor that goes along, or -1 */
    uint32_t status;
    uint64_t value;
    int32_t fd; /* -1, or a descriptor that came along and is the caller's now */
};

/* How long a thread spins before it sleeps (ns); zeroed at first, and kept with its connection. */
struct dsmproc_spin {
    uint64_t limit;
    uint64_t census;         /* the last one that counted, */
    uint32_t asked, running; /* how often, and the sum of those that ran */
    uint32_t crowded;        /* they were more than the cores */
    uint32_t cores;          /* 0: not asked yet */
};

int dsmproc_request_send(int fd, struct dsmproc_request *request);
/* Wait for the answer: 0, -EAGAIN after `timeout_ms`, -EINTR when a signal came (so that Python can
 * run its handler), -ECONNRESET when the agent is gone. */
int dsmproc_request_wait(int fd, int timeout_ms, struct dsmproc_request *request,
                         struct dsmproc_spin *spin);
/* Ask for an end: the request is answered all the same, perhaps with success. */
int dsmproc_request_cancel(int fd);
/* An exception has ended the request; no signal does until this returns. A request that takes
 * something has had no effect afterwards: it is cancelled, and what was granted goes back. One that
 * gives something is complete. 0, or -ECONNRESET: the connection is of no use any more. */
int dsmproc_request_end(int fd, struct dsmproc_request *request);
/* End this process with SIGKILL when the other end of `fd` closes (or sends anything).
 * -ECONNRESET: it is closed. */
int dsmproc_lifeline(int fd);
/* No more: before the connection is closed in peace. */
int dsmproc_lifeline_off(int fd);
/* A lost host may not close its connections: this ends those of this process that go to the
 * listener of its agent, in whatever thread they are waited for. */
struct dsmproc_lost {
    uint8_t host;
    uint8_t length; /* of the address: 4 or 16 */
    uint8_t bytes[16];
    uint8_t port[2]; /* the high byte first */
};
void dsmproc_part(const struct dsmproc_lost *lost);
/* Whether this process has parted from that host: whoever is at its address now is somebody
 * else. */
int dsmproc_has_parted(int host);
/* From now on the hosts that come through this socket are parted from as they come, by a handler of
 * SIGURG (which programs ignore): no thread has to read it. One socket a process; -1: no more, and
 * what was parted from is forgotten: it was of a cluster that this process leaves. */
int dsmproc_part_by(int fd);

/* ---- client: the control segment ------------------------------------------------------------ */
struct dsm_control;
/* NULL: fd is no control segment. */
struct dsm_control *dsmproc_control_map(int fd);
void dsmproc_control_unmap(struct dsm_control *control);
uint64_t dsmproc_control_seen(struct dsm_control *control);
uint32_t dsmproc_control_host(struct dsm_control *control);
uint64_t dsmproc_control_out(struct dsm_control *control);
/* 1 and the stamp: nothing is to be published. 0: ask the engine. */
int dsmproc_control_idle(struct dsm_control *control, uint64_t *stamp);
/* What a process has of a lock, and how it takes and gives it quickly; or, without a control
 * segment, what it has of a semaphore. */
struct dsmproc_quick {
    struct dsm_control *control;
    uint32_t slot, pid;
    uint64_t owner;     /* the thread that took it last; of a lock 0 while it is given */
    int32_t depth;      /* how often it was taken and not given here */
    uint32_t recursive; /* the owner may take it again, and only the owner may give it */
    uint32_t again;     /* the owner tried to take one that is not recursive */
    uint32_t owed;      /* it is to be given, and the engine was not asked yet */
};
/* 1: taken. 0: the engine must be asked. */
int dsmproc_quick_take(struct dsmproc_quick *quick);
/* 0: given. 1: the engine must be asked. 2: nobody held it. 3: it is recursive, and not this
 * thread's. */
int dsmproc_quick_give(struct dsmproc_quick *quick);
/* As give, after an exception came while this thread was taking it: for what it took, and not for
 * what it had before. */
int dsmproc_quick_untake(struct dsmproc_quick *quick);
/* For who holds it. 1: a holder died, and none has said since that what the lock guards is
 * right. */
int dsmproc_lock_owner_died(struct dsm_control *control, uint32_t slot);
/* The word as it is now (see core.h): pid << 2 | state. */
uint32_t dsmproc_lock_word(struct dsm_control *control, uint32_t slot);

#endif
