/* The engine: one thread, one epoll set, one protocol state. Shared by the files of this folder.
 *
 * All of it belongs to the engine's thread, except what the mutex guards and the counters. The
 * thread touches only sockets, its own memfds, userfaultfds, eventfds and pidfds, and never waits
 * on any of them but in epoll: a client may hold any other kernel lock while it waits for us
 * (trap "bulk work").
 */
#ifndef DSM_ENGINE_ENGINE_H
#define DSM_ENGINE_ENGINE_H
#include "core/core.h"
#include "engine/table.h"
#include "engine/store.h"
#include "include/dsmproc_api.h"
#include "sys/buffer.h"
#include "sys/control.h"
#include "sys/loop.h"
#include "sys/memory.h"
#include "sys/seal.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Kinds of struct dsm_source. */
enum {
    DSM_SOURCE_WAKE = 1,   /* commands wait */
    DSM_SOURCE_TIMER = 2,  /* the tick */
    DSM_SOURCE_PEER = 3,   /* in struct dsm_peer */
    DSM_SOURCE_CONN = 4,   /* in struct dsm_conn */
    DSM_SOURCE_FAULTS = 5, /* in struct dsm_client */
    DSM_SOURCE_LIFE = 6,   /* in struct dsm_client: its pidfd */
    DSM_SOURCE_BEAT = 7,   /* the heartbeat's timer */
    DSM_SOURCE_HOLD = 9,   /* pages were held long enough (host/single.c) */
};

/* A request's number is a counter << 16 | index of its connection. */
enum { DSM_REQ_INDEX_BITS = 16, DSM_REQ_NO_CONN = (1 << DSM_REQ_INDEX_BITS) - 1 };

struct dsm_peer {
    struct dsm_source source; /* fd < 0: not connected (yet, or any more) */
    uint32_t host, channel;
    bool lost;                         /* what is sent is thrown away until it is added again */
    bool fresh;                        /* frames were added since the last write */
    bool queued;                       /* in engine->queued */
    struct dsm_seal sealing, checking; /* of the frames that go out and come in */
    bool heard;                        /* bytes came since the last beat */
    uint32_t silent;                   /* beats since the last that came */
    struct dsm_buffer in, out;
};

struct dsm_client;

struct dsm_mapping {
    struct dsm_client *client;
    uint64_t address;
};

struct dsm_area {
    uint64_t id;
    uint64_t pages;
    struct dsm_memory memory;
    struct dsm_mapping *mappings; /* one per client that maps it */
    uint32_t count, room;
};

struct dsm_range {
    uint64_t address, bytes;
    struct dsm_area *area;
};

/* A process of this host. Freed when its last connection is, orphaned requests included. */
struct dsm_client {
    struct dsm_source faults, life;
    uint32_t slot, pid;
    uint32_t conns;
    bool gone;
    /* Where its faults come by mprotect (sys/segv.h; `faults` is the line then): */
    int acks; /* < 0: they do not */
    bool mute;
    uint64_t commands;
    struct dsm_range *ranges;
    uint32_t count, room;
    struct dsm_buffer attached; /* uint64_t: regions, mapped or not yet */
};

/* A client thread's connection: at most one request at a time. */
struct dsm_conn {
    struct dsm_source source;
    uint32_t index, pid;
    struct dsm_client *client;
    bool main, orphan, free;
    int passed; /* a descriptor that came with the request */
    struct dsm_buffer in;
    struct dsmproc_request request;
    uint64_t req;  /* 0: none is under way */
    bool answered; /* the answer below waits for the end of the step */
    uint32_t status;
    int reply_fd;
    uint64_t value;
    struct dsmproc_request acting; /* the BAR_WAIT whose action this thread runs (id 0: none) */
};

/* Events made while actions are executed, fed when the step and its results are done. */
struct dsm_later {
    struct dsm_event event;
    uint8_t bytes[24];
};

struct dsm_agent {
    struct dsm_store store;
    struct dsm_memory control_memory;
    struct dsm_control *control;
    struct dsm_table regions; /* id -> struct dsm_area */
    struct dsm_client *clients[DSM_MAX_CLIENTS];
    struct dsm_conn **conns;
    uint32_t nconns, conns_room;
    struct dsm_table locks; /* id -> slot */
    uint64_t *lock_ids;     /* slot -> id */
    uint32_t locks_room;
    uint64_t last_req, last_id;
    uint32_t answers;           /* connections whose answer is ready to be sent */
    struct dsm_buffer results;  /* struct dsm_event: results of COMPARE and TAKE, in order */
    struct dsm_buffer later;    /* struct dsm_later */
    struct dsm_buffer sink;     /* payload for peers that are lost */
    struct dsm_buffer unpacked; /* the message that is being read, if its pages came packed */
    bool more;                  /* the core asked for DSM_EV_MORE */
    uint64_t brought;           /* pages that came into memory since it was measured (limit.c) */
    bool full;                  /* homes alone pass the limit; said once */
    bool tight;                 /* little is left of it */
    uint64_t relief;            /* the publish that makes written pages copies; 0: none runs */
    bool relieved;              /* it is done */
    struct dsm_buffer held;     /* struct dsm_event: faults that wait for it */
    struct dsm_summary summary; /* of the step whose actions are being done */
};

struct dsmproc_engine {
    struct dsmproc_options options;
    int loop;
    uint64_t last_beat; /* ms, coarse */
    struct dsm_source wake, timer, beat, hold;
    pthread_t thread;
    /* From here to the mutex's end: any thread, under the mutex. */
    pthread_mutex_t mutex;
    struct dsm_buffer commands, notices;
    uint64_t given, done; /* commands */
    int refusal;          /* why the last refused one was (read when it is done) */
    pthread_cond_t settled;
    bool stopping;
    int notice_fd;
    _Atomic uint64_t stats[DSMPROC_STATS];
    _Atomic uint32_t nlocks;
    /* From here on the engine's thread only. */
    bool failed, garbage, ticking;
    bool refused;   /* the core refused the event just fed: the client's request makes no sense */
    bool malformed; /* the message being executed holds a diff that is none: drop its sender */
    struct dsm_peer peers[DSM_MAX_HOSTS + 1][2];      /* the master is the last */
    struct dsm_peer *queued[2 * (DSM_MAX_HOSTS + 1)]; /* those with something to write */
    uint32_t nqueued;
    struct dsmproc_spin spin;
    bool active; /* this turn did something that more may follow soon */
    struct dsm_out out;
    void *arena;
    uint64_t arena_bytes;
    struct dsm_host *host;
    struct dsm_master *master;
    struct dsm_agent agent;
};

/* engine.c */
void dsm_engine_note(struct dsmproc_engine *engine, const struct dsmproc_notice *notice);
void dsm_engine_log(struct dsmproc_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The engine stops working; its clients are left waiting until Python ends the host. */
void dsm_engine_fail(struct dsmproc_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void dsm_engine_count(struct dsmproc_engine *engine, uint32_t stat, uint64_t add);
void dsm_engine_set(struct dsmproc_engine *engine, uint32_t stat, uint64_t value);

/* peers.c */
struct dsm_peer *dsm_peer_find(struct dsmproc_engine *engine, uint32_t host, uint32_t channel);
void dsm_peers_init(struct dsmproc_engine *engine);
int dsm_peer_add(struct dsmproc_engine *engine, const struct dsmproc_command *command);
/* Close all connections to a host; a notice says why unless error is 0. */
void dsm_peer_drop(struct dsmproc_engine *engine, uint32_t host, uint32_t channel, int error);
void dsm_peer_ready(struct dsmproc_engine *engine, struct dsm_peer *peer, uint32_t flags);
/* Something was appended to its `out`. */
void dsm_peer_queue(struct dsmproc_engine *engine, struct dsm_peer *peer);
/* Let every peer hear from us; one that was silent for too many beats is lost (ETIMEDOUT). */
void dsm_peers_beat(struct dsmproc_engine *engine);
/* After each step: a turn of very many steps looks no more like a death than a short one. */
void dsm_peers_stay(struct dsmproc_engine *engine);
/* Write out what is queued: one write for each peer and channel. */
void dsm_peers_flush(struct dsmproc_engine *engine);
/* What the connections that are open now have sent (any thread). */
uint64_t dsm_peers_traffic(struct dsmproc_engine *engine);

/* agent.c and master.c: steps of the core */
int dsm_agent_open(struct dsmproc_engine *engine);
void dsm_agent_close(struct dsmproc_engine *engine);
/* One event and its results, without what it leaves for later. */
void dsm_agent_step(struct dsmproc_engine *engine, const struct dsm_event *event);
/* limit.c: after an event; above the memory limit, copies are given up. */
void dsm_limit_keep(struct dsmproc_engine *engine);
/* The publish of a relief, if that is what it was, is answered. */
void dsm_limit_answered(struct dsmproc_engine *engine, uint64_t req);
/* Whether a fault has to wait, and is kept. */
bool dsm_limit_hold(struct dsmproc_engine *engine, const struct dsm_event *fault);
/* Homes alone pass the limit: no more regions come to this host. */
bool dsm_limit_full(struct dsmproc_engine *engine);
void dsm_agent_feed(struct dsmproc_engine *engine, const struct dsm_event *event);
/* Feed what actions and closed connections have left, until nothing is. */
void dsm_agent_drain(struct dsmproc_engine *engine);
/* Show `seen` and `out` to the clients: before whatever lets one of them go on. */
void dsm_agent_show(struct dsmproc_engine *engine);
void dsm_agent_result(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_agent_later(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_agent_command(struct dsmproc_engine *engine, const struct dsmproc_command *command);
int dsm_master_open(struct dsmproc_engine *engine);
void dsm_master_feed(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_master_command(struct dsmproc_engine *engine, const struct dsmproc_command *command);
/* Either of them: one message from a peer. */
void dsm_engine_message(struct dsmproc_engine *engine, struct dsm_peer *peer, const uint8_t *bytes,
                        uint32_t len);

/* execute.c: do all actions of the step just made, in order */
void dsm_execute(struct dsmproc_engine *engine, const struct dsm_event *event);

/* areas.c: a region's memory and who maps it; "region" alone is the word of the core */
struct dsm_area *dsm_area_find(struct dsmproc_engine *engine, uint64_t id);
int dsm_area_make(struct dsmproc_engine *engine, uint64_t id, uint64_t pages);
void dsm_area_end(struct dsmproc_engine *engine, uint64_t id);
int dsm_area_map(struct dsm_area *area, struct dsm_client *client, uint64_t address);
void dsm_area_unmap(struct dsm_area *area, struct dsm_client *client);
/* The client's address of a region, 0 if it does not map it. */
uint64_t dsm_area_address(const struct dsm_area *area, const struct dsm_client *client);

/* watch.c: what processes may do with pages, by the mechanism that each has */
/* They are resident: they may be used, and threads parked on them go on. */
void dsm_watch_map(struct dsmproc_engine *engine, struct dsm_client *client, uint64_t address,
                   uint64_t bytes, bool writable);
/* In all processes: read-only at most; after return no store is under way. */
void dsm_watch_protect(struct dsmproc_engine *engine, const struct dsm_area *area, uint64_t offset,
                       uint64_t bytes);
/* Before and after a hole is punched. */
void dsm_watch_hide(struct dsmproc_engine *engine, const struct dsm_area *area, uint64_t offset,
                    uint64_t bytes);
void dsm_watch_punched(struct dsmproc_engine *engine, const struct dsm_area *area, uint64_t offset,
                       uint64_t bytes);
/* It waits for pages that are lost: SIGBUS ends it, or where that cannot be had, SIGKILL. */
void dsm_watch_poison(struct dsmproc_engine *engine, struct dsm_client *client, uint64_t address,
                      uint64_t bytes);
/* Its threads that are parked there fault again, which ends them if nothing is mapped there. */
void dsm_watch_wake(struct dsmproc_engine *engine, const struct dsm_client *client,
                    uint64_t address, uint64_t bytes);
struct dsm_fault;
int dsm_watch_read(const struct dsm_client *client, struct dsm_fault *faults, int room);

/* clients.c */
struct dsm_client *dsm_client_make(struct dsmproc_engine *engine, uint32_t pid);
struct dsm_client *dsm_client_find(struct dsmproc_engine *engine, uint32_t pid);
int dsm_client_faults(struct dsmproc_engine *engine, struct dsm_client *client, int fd, bool segv);
/* The process is gone: close its connections, cancel its requests; freed when they are answered. */
void dsm_client_end(struct dsmproc_engine *engine, struct dsm_client *client);
/* A connection of it is freed. */
void dsm_client_release(struct dsmproc_engine *engine, struct dsm_client *client);
/* It has attached this region / it no longer has (false: it had not). */
int dsm_client_attached(struct dsm_client *client, uint64_t region);
bool dsm_client_detached(struct dsm_client *client, uint64_t region);
void dsm_client_read(struct dsmproc_engine *engine, struct dsm_client *client);

/* requests.c */
int dsm_conn_add(struct dsmproc_engine *engine, int fd, uint32_t pid);
void dsm_conn_ready(struct dsmproc_engine *engine, struct dsm_conn *conn);
/* The thread behind it is gone: cancel its request, free it (now, or when that is answered). */
void dsm_conn_end(struct dsmproc_engine *engine, struct dsm_conn *conn);
void dsm_requests_reply(struct dsmproc_engine *engine, uint64_t req, uint32_t status,
                        uint64_t value);
/* Send the answers that a step has made, after its summary is in the control segment. */
void dsm_requests_flush(struct dsmproc_engine *engine);
/* Free what ended in this turn of the loop. */
void dsm_requests_collect(struct dsmproc_engine *engine);

/* locks.c */
/* The lock's slot, opened at its first use here. Negative: no room. */
int64_t dsm_locks_open(struct dsmproc_engine *engine, uint64_t id);
struct dsm_word *dsm_locks_find(struct dsmproc_engine *engine, uint64_t id);
void dsm_locks_set(struct dsmproc_engine *engine, const struct dsm_action *action);
/* Release on behalf of a process that cannot. */
void dsm_locks_release(struct dsmproc_engine *engine, uint64_t id);
/* Free all that this process (0: any) held when it died; the next holders are told. `why`: the
 * notices' arg. */
void dsm_locks_owner_died(struct dsmproc_engine *engine, uint32_t pid, uint64_t why);

#endif
