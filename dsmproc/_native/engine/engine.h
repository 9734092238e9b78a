/* What the files of the engine offer each other, the ground first: a file uses those above it in
 * this list, and none below it. api.c stands on all of them.
 */
#ifndef DSM_ENGINE_ENGINE_H
#define DSM_ENGINE_ENGINE_H
#include "engine/state.h"

struct dsm_fault;

/* ---- table.c (table.h): maps from numbers to numbers --------------------------------------- */

/* ---- store.c (store.h): twins and kept diffs ----------------------------------------------- */

/* ---- report.c: what the engine says of itself ---------------------------------------------- */

void dsm_engine_note(struct dsmproc_engine *engine, const struct dsmproc_notice *notice);
void dsm_engine_log(struct dsmproc_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The engine stops working; its clients are left waiting until Python ends the host. */
void dsm_engine_fail(struct dsmproc_engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void dsm_engine_count(struct dsmproc_engine *engine, uint32_t stat, uint64_t add);
void dsm_engine_set(struct dsmproc_engine *engine, uint32_t stat, uint64_t value);

/* ---- events.c: what actions leave behind --------------------------------------------------- */

void dsm_events_result(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_events_later(struct dsmproc_engine *engine, const struct dsm_event *event);

/* ---- summary.c: what clients read without asking ------------------------------------------- */

int dsm_summary_open(struct dsmproc_engine *engine, uint32_t page_size);
/* Show `seen` and `out` to the clients: before whatever lets one of them go on. */
void dsm_summary_show(struct dsmproc_engine *engine);

/* ---- peers.c: connections to other hosts --------------------------------------------------- */

struct dsm_peer *dsm_peer_find(struct dsmproc_engine *engine, uint32_t host, uint32_t channel);
void dsm_peers_init(struct dsmproc_engine *engine);
int dsm_peer_add(struct dsmproc_engine *engine, const struct dsmproc_command *command);
/* Close all connections to a host; a notice says why unless error is 0. */
void dsm_peer_drop(struct dsmproc_engine *engine, uint32_t host, uint32_t channel, int error);
/* Something was appended to its `out`. */
void dsm_peer_queue(struct dsmproc_engine *engine, struct dsm_peer *peer);
/* Write out what it has queued, as far as its socket takes it. */
void dsm_peer_write(struct dsmproc_engine *engine, struct dsm_peer *peer);
/* Let every peer hear from us; one that was silent for too many beats is lost (ETIMEDOUT). */
void dsm_peers_beat(struct dsmproc_engine *engine);
/* After each step: a turn of very many steps looks no more like a death than a short one. */
void dsm_peers_stay(struct dsmproc_engine *engine);
/* Write out what is queued: one write for each peer and channel. */
void dsm_peers_flush(struct dsmproc_engine *engine);
/* What the connections that are open now have sent (any thread). */
uint64_t dsm_peers_traffic(struct dsmproc_engine *engine);

/* ---- areas.c: a region's memory and who maps it; "region" alone is the core's -------------- */

struct dsm_area *dsm_area_find(struct dsmproc_engine *engine, uint64_t id);
int dsm_area_make(struct dsmproc_engine *engine, uint64_t id, uint64_t pages);
void dsm_area_end(struct dsmproc_engine *engine, uint64_t id);
int dsm_area_map(struct dsm_area *area, struct dsm_client *client, uint64_t address);
void dsm_area_unmap(struct dsm_area *area, struct dsm_client *client);
/* The client's address of a region, 0 if it does not map it. */
uint64_t dsm_area_address(const struct dsm_area *area, const struct dsm_client *client);

/* ---- watch.c: what processes may do with pages, by the mechanism that each has ------------- */

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
int dsm_watch_read(const struct dsm_client *client, struct dsm_fault *faults, int room);
/* It said that it stops, or goes on (sys/segv.h). */
void dsm_watch_heard(struct dsmproc_engine *engine, struct dsm_client *client, uint32_t said);

/* ---- pages.c: where pages are, how they go into messages and come out ---------------------- */

/* The pages that an action names. False (and the engine fails) if there is no such memory. */
bool dsm_pages_find(struct dsmproc_engine *engine, const struct dsm_action *action, uint32_t count,
                    struct dsm_pages *pages);
/* The payload of a message: diffs, or pages, which are packed where that pays. */
int dsm_pages_pack(struct dsmproc_engine *engine, const struct dsm_action *part, uint32_t count,
                   struct dsm_buffer *out, uint32_t *packed);
/* The message with the pages at its end as they are, into agent.unpacked. False if it has none. */
bool dsm_pages_unpack(struct dsmproc_engine *engine, const uint8_t *body, uint32_t len,
                      uint32_t count);

/* ---- locks.c: lock words that only the engine changes -------------------------------------- */

/* The lock's slot, opened at its first use here. Negative: no room. */
int64_t dsm_locks_open(struct dsmproc_engine *engine, uint64_t id);
struct dsm_word *dsm_locks_find(struct dsmproc_engine *engine, uint64_t id);
void dsm_locks_set(struct dsmproc_engine *engine, const struct dsm_action *action);
/* Release on behalf of a process that cannot. */
void dsm_locks_release(struct dsmproc_engine *engine, uint64_t id);
/* Free all that this process (0: any) held when it died; the next holders are told. `why`: the
 * notices' arg. */
void dsm_locks_owner_died(struct dsmproc_engine *engine, uint32_t pid, uint64_t why);

/* ---- ends.c: a process is gone, or a thread ------------------------------------------------ */

/* The thread behind it is gone: cancel its request, free it (now, or when that is answered). */
void dsm_end_conn(struct dsmproc_engine *engine, struct dsm_conn *conn);
void dsm_end_free(struct dsmproc_engine *engine, struct dsm_conn *conn);
/* What an orphan was granted goes back. */
void dsm_end_give_back(struct dsmproc_engine *engine, struct dsm_conn *conn);
/* The process is gone: close its connections, cancel its requests; freed when they are answered. */
void dsm_end_client(struct dsmproc_engine *engine, struct dsm_client *client);
/* A connection of it is freed. */
void dsm_end_release(struct dsmproc_engine *engine, struct dsm_client *client);

/* ---- clients.c: processes of this host ----------------------------------------------------- */

struct dsm_client *dsm_client_make(struct dsmproc_engine *engine, uint32_t pid);
struct dsm_client *dsm_client_find(struct dsmproc_engine *engine, uint32_t pid);
int dsm_client_faults(struct dsmproc_engine *engine, struct dsm_client *client, int fd, bool segv);
/* It has attached this region / it no longer has (false: it had not). */
int dsm_client_attached(struct dsm_client *client, uint64_t region);
bool dsm_client_detached(struct dsm_client *client, uint64_t region);

/* ---- conns.c: connections of their threads, and the answers -------------------------------- */

int dsm_conn_add(struct dsmproc_engine *engine, int fd, uint32_t pid);
void dsm_conns_reply(struct dsmproc_engine *engine, uint64_t req, uint32_t status, uint64_t value);
/* To the thread, with a descriptor or -1; nonzero if it cannot be sent. */
int dsm_conns_send(const struct dsm_conn *conn, uint32_t status, uint64_t value, int fd);
/* Send the answers that a step has made, after its summary is in the control segment. */
void dsm_conns_flush(struct dsmproc_engine *engine);
/* Free what ended in this turn of the loop. */
void dsm_conns_collect(struct dsmproc_engine *engine);

/* ---- execute.c: all actions of the step just made, in order -------------------------------- */

void dsm_execute(struct dsmproc_engine *engine, const struct dsm_event *event);
/* One event and its results, without what it leaves for later. */
void dsm_execute_step(struct dsmproc_engine *engine, const struct dsm_event *event);
/* Feed what actions and closed connections have left, until nothing is. */
void dsm_execute_later(struct dsmproc_engine *engine);

/* ---- limit.c: the memory limit ------------------------------------------------------------- */

/* After an event: above the memory limit, copies are given up. */
void dsm_limit_keep(struct dsmproc_engine *engine);
/* Counts what is used, for DSMPROC_STAT_MEMORY. */
void dsm_limit_measure(struct dsmproc_engine *engine);
/* A fault that was held, and need not be any longer. */
bool dsm_limit_let_go(struct dsmproc_engine *engine, struct dsm_event *fault);
/* Whether a fault has to wait, and is kept. */
bool dsm_limit_hold(struct dsmproc_engine *engine, const struct dsm_event *fault);
/* Homes alone pass the limit: no more regions come to this host. */
bool dsm_limit_full(struct dsmproc_engine *engine);

/* ---- agent.c: the agent's role ------------------------------------------------------------- */

int dsm_agent_open(struct dsmproc_engine *engine);
void dsm_agent_close(struct dsmproc_engine *engine);
/* One event, all that it leaves for later, and what the limit then asks for. */
void dsm_agent_feed(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_agent_command(struct dsmproc_engine *engine, const struct dsmproc_command *command);

/* ---- master.c: the master's role ----------------------------------------------------------- */

int dsm_master_open(struct dsmproc_engine *engine);
void dsm_master_feed(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_master_command(struct dsmproc_engine *engine, const struct dsmproc_command *command);

/* ---- requests.c: what client threads ask --------------------------------------------------- */

void dsm_requests_ready(struct dsmproc_engine *engine, struct dsm_conn *conn);

/* ---- faults.c: what they fault on ---------------------------------------------------------- */

void dsm_faults_read(struct dsmproc_engine *engine, struct dsm_client *client);

/* ---- hear.c: what other hosts send --------------------------------------------------------- */

/* For the role that this engine has. */
void dsm_hear_event(struct dsmproc_engine *engine, const struct dsm_event *event);
void dsm_hear_peer(struct dsmproc_engine *engine, struct dsm_peer *peer, uint32_t flags);

/* ---- engine.c: the thread, one turn of the loop -------------------------------------------- */

void *dsm_engine_run(void *engine);

#endif
