/* The client's half of faults by mprotect: the signal handler, and the helper that obeys. */
#include "client/segv.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { RANGES = 16384, BUCKETS = 256, CHAIN = 8, PAGE = 4096, STACK = 256 << 10 };

/* What a handler needs cannot be handed to it: it reads these without a lock. A range that is not
 * used has no bytes. `rights` has a byte (PROT_*) a page and belongs to the mutex, but for
 * reading. */
static struct {
    _Atomic uint64_t start, bytes;
    _Atomic(_Atomic uint8_t *) rights;
} ranges[RANGES];
static _Atomic uint32_t used;
/* Threads wait for what happens to their page, by its address; neighbours wake them in vain. */
static _Atomic uint32_t happened[BUCKETS];
static _Atomic int line = -1;
static int acks = -1, agents = -1;
static pid_t owner;
static pthread_t helper;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
/* Who had the signal before us, the last on top; and whether the one on top was called. */
static struct sigaction before[CHAIN];
static _Atomic uint32_t nbefore, called;

/* ---- the handler: only what is async-signal-safe ---- */

static int find(uint64_t address) {
    uint32_t count = atomic_load(&used);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t bytes = atomic_load(&ranges[i].bytes);
        if (bytes && address - atomic_load(&ranges[i].start) < bytes) return (int)i;
    }
    return -1;
}

/* Where the machine does not say it: a page that may be read was to be written. */
static bool is_write(const ucontext_t *context, uint8_t rights) {
#if defined __x86_64__
    (void)rights;
    return (context->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#elif defined __aarch64__
    const uint8_t *at = (const uint8_t *)context->uc_mcontext.__reserved;
    for (;;) {
        struct _aarch64_ctx head;
        memcpy(&head, at, sizeof head);
        if (!head.magic || !head.size) return rights & PROT_READ;
        if (head.magic == ESR_MAGIC) {
            struct esr_context esr;
            memcpy(&esr, at, sizeof esr);
            return (esr.esr & 1u << 6) != 0; /* WnR */
        }
        at += head.size;
    }
#else
    (void)context;
    return rights & PROT_READ;
#endif
}

/* Not ours. Each of those before us is called once for it: faulthandler writes its trace, restores
 * whom it found (us, if it came later) and raises the signal again, which is for the one below it.
 * A default action is restored, and the instruction faults again, so that core dumps show it. */
static void chain(int number, siginfo_t *info, void *context) {
    uint32_t count = atomic_load(&nbefore);
    bool again = info->si_code == SI_TKILL && info->si_pid == getpid();
    uint32_t level = again ? atomic_fetch_add(&called, 1) : 0;
    if (!again) atomic_store(&called, 1);
    const struct sigaction *next = level < count ? &before[count - 1 - level] : NULL;
    if (next && next->sa_flags & SA_SIGINFO) {
        next->sa_sigaction(number, info, context);
    } else if (next && next->sa_handler != SIG_DFL && next->sa_handler != SIG_IGN) {
        next->sa_handler(number);
    } else {
        struct sigaction standard = {.sa_handler = SIG_DFL};
        sigaction(SIGSEGV, &standard, NULL);
        if (info->si_code <= 0) raise(number); /* sent, not met: it would not come again */
    }
}

/* Parked: until something happened to the page. The store that woke us may have been another's. */
static void wait_for(int range, uint64_t address, const ucontext_t *context) {
    _Atomic uint32_t *word = &happened[address / PAGE % BUCKETS];
    uint32_t seen = atomic_load(word);
    uint64_t page = (address - atomic_load(&ranges[range].start)) / PAGE;
    const _Atomic uint8_t *rights = atomic_load(&ranges[range].rights);
    uint8_t has = rights ? atomic_load(&rights[page]) : 0;
    bool write = is_write(context, has);
    if (has & (write ? PROT_WRITE : PROT_READ)) return; /* meanwhile */
    uint64_t fault[2] = {address, write};
    while (send(atomic_load(&line), fault, sizeof fault, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) break; /* the agent is gone: we wait for our lifeline to end us */
    while (atomic_load(word) == seen)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    int error = errno;
    uint64_t address = (uintptr_t)info->si_addr;
    int range = info->si_code == SEGV_ACCERR ? find(address) : -1;
    if (range < 0)
        chain(number, info, context);
    else
        wait_for(range, address, context);
    errno = error;
}

/* Ctrl-Z. Nothing is waited for in here: the helper stops the process when it is told to. */
static void on_stop(int number) {
    int error = errno;
    uint64_t stops[2] = {0, DSM_SEGV_STOPS};
    int to = owner == getpid() ? atomic_load(&line) : -1;
    if (send(to, stops, sizeof stops, MSG_NOSIGNAL) < 0) raise(SIGSTOP); /* it has no pages */
    (void)number;
    errno = error;
}

static bool is_ours(const struct sigaction *action) {
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_fault;
}

/* All signals are held back meanwhile, as from a thread that the kernel has parked. */
static void arm(bool removed) {
    struct sigaction now;
    if (sigaction(SIGSEGV, NULL, &now) < 0) return;
    uint32_t count = atomic_load(&nbefore);
    if (is_ours(&now)) {
        if (removed && count > 1) atomic_store(&nbefore, count - 1);
        return;
    }
    if (count == CHAIN) { /* the oldest go; below them was hardly more than the default */
        memmove(&before[0], &before[1], (CHAIN - 1) * sizeof before[0]);
        count--;
    }
    before[count] = now;
    atomic_store(&nbefore, count + 1);
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&ours.sa_mask);
    sigaction(SIGSEGV, &ours, NULL);
}

/* A program that has a handler of its own, or ignores it, does as it likes. */
static void arm_stop(void) {
    struct sigaction now, ours = {.sa_handler = on_stop, .sa_flags = SA_RESTART | SA_ONSTACK};
    if (sigaction(SIGTSTP, NULL, &now) < 0 || now.sa_handler != SIG_DFL) return;
    sigaction(SIGTSTP, &ours, NULL);
}

void dsm_segv_arm(bool removed) {
    pthread_mutex_lock(&mutex);
    arm(removed);
    pthread_mutex_unlock(&mutex);
}

/* ---- the helper: under the mutex ---- */

static uint8_t wanted(uint32_t op, uint8_t has) {
    switch (op) {
    case DSM_SEGV_MAP_READ:
        return has ? has : PROT_READ;
    case DSM_SEGV_MAP_WRITE:
        return PROT_READ | PROT_WRITE;
    case DSM_SEGV_PROTECT:
        return has & PROT_READ; /* one never mapped here is not opened */
    default:
        return PROT_NONE;
    }
}

/* Less than the agent believes is always legal: it is asked again. */
static void hide_all(uint32_t range) {
    uint64_t bytes = atomic_load(&ranges[range].bytes);
    _Atomic uint8_t *rights = atomic_load(&ranges[range].rights);
    mprotect((void *)(uintptr_t)atomic_load(&ranges[range].start), bytes, PROT_NONE);
    for (uint64_t i = 0; i < bytes / PAGE; i++)
        atomic_store_explicit(&rights[i], 0, memory_order_relaxed);
}

/* Neighbours that change alike change in one call. False: the system gives this process no more
 * mappings (vm.max_map_count), of which pages of different rights each take one. */
static bool change(uint32_t op, uint64_t start, _Atomic uint8_t *rights, uint64_t pages) {
    for (uint64_t i = 0; i < pages;) {
        uint8_t want = wanted(op, atomic_load(&rights[i]));
        bool differs = false;
        uint64_t end = i;
        for (; end < pages && wanted(op, atomic_load(&rights[end])) == want; end++)
            differs = differs || atomic_load(&rights[end]) != want;
        if (differs && mprotect((void *)(uintptr_t)(start + i * PAGE), (end - i) * PAGE, want) < 0)
            return false;
        for (; i < end; i++)
            atomic_store(&rights[i], want);
    }
    return true;
}

static void end_here(void) {
    static const char why[] = "dsmproc: this process ends: a lost page cannot be kept from it\n";
    (void)!write(STDERR_FILENO, why, sizeof why - 1);
    kill(getpid(), SIGKILL);
}

/* An empty file is mapped there: elsewhere first, for a child that is forked meanwhile would
 * inherit it in the place of its region. False as above. */
static bool poison(uint64_t address, _Atomic uint8_t *rights, uint64_t pages) {
    uint64_t bytes = pages * PAGE;
    int empty = memfd_create("dsmproc-poison", MFD_CLOEXEC);
    if (empty < 0) return false;
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, empty, 0);
    close(empty);
    if (at == MAP_FAILED) return false;
    if (madvise(at, bytes, MADV_DONTFORK) < 0 ||
        mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, address) == MAP_FAILED) {
        munmap(at, bytes);
        return false;
    }
    for (uint64_t i = 0; i < pages; i++)
        atomic_store(&rights[i], PROT_READ | PROT_WRITE);
    return true;
}

static void wake(uint64_t address, uint64_t bytes) {
    uint64_t pages = bytes / PAGE;
    for (uint64_t i = 0; i < pages && i < BUCKETS; i++) {
        _Atomic uint32_t *word = &happened[(address / PAGE + i) % BUCKETS];
        atomic_fetch_add(word, 1);
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    }
}

static void hide_everything(void) {
    for (uint32_t i = 0; i < atomic_load(&used); i++)
        if (atomic_load(&ranges[i].bytes)) hide_all(i);
}

static void acknowledge(uint64_t number) {
    (void)send(acks, &number, sizeof number, MSG_NOSIGNAL);
}

/* This thread takes the signal, and with it all stand still until they are continued. A program
 * that nobody could continue is not stopped: the system knows. */
static void stop(void) {
    struct sigaction standard = {.sa_handler = SIG_DFL}, ours;
    uint64_t goes_on[2] = {0, DSM_SEGV_GOES_ON};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTSTP);
    sigaction(SIGTSTP, &standard, &ours);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    raise(SIGTSTP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    sigaction(SIGTSTP, &ours, NULL);
    while (send(atomic_load(&line), goes_on, sizeof goes_on, MSG_NOSIGNAL) < 0)
        if (errno != EINTR) return;
}

static bool try_to(const struct dsm_segv_command *command, _Atomic uint8_t *rights) {
    uint64_t pages = command->bytes / PAGE;
    return command->op == DSM_SEGV_POISON ? poison(command->address, rights, pages)
                                          : change(command->op, command->address, rights, pages);
}

static void obey(const struct dsm_segv_command *command) {
    if (command->op == DSM_SEGV_REST) return hide_everything();
    if (command->op == DSM_SEGV_GO) return wake(0, (uint64_t)BUCKETS * PAGE);
    int range = find(command->address);
    if (range < 0) return; /* it was unmapped */
    uint64_t first = (command->address - atomic_load(&ranges[range].start)) / PAGE;
    _Atomic uint8_t *rights = atomic_load(&ranges[range].rights) + first;
    if (!try_to(command, rights)) {
        hide_all((uint32_t)range);
        if (!try_to(command, rights) && command->op == DSM_SEGV_POISON)
            end_here(); /* it would wait for ever */
        wake(0, (uint64_t)BUCKETS * PAGE);
    }
    if (command->op != DSM_SEGV_PROTECT) wake(command->address, command->bytes);
}

static void *help(void *unused) {
    (void)unused;
    pthread_setname_np(pthread_self(), "dsmproc-segv");
    for (;;) {
        struct dsm_segv_command command;
        ssize_t got = recv(atomic_load(&line), &command, sizeof command, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got != sizeof command) return NULL;
        pthread_mutex_lock(&mutex);
        obey(&command);
        pthread_mutex_unlock(&mutex);
        if (command.op == DSM_SEGV_PROTECT || command.op == DSM_SEGV_HIDE ||
            command.op == DSM_SEGV_REST)
            acknowledge(command.number);
        if (command.op == DSM_SEGV_REST) stop();
    }
}

/* ---- opening, ranges, closing ---- */

static int pass(int to, int fd) {
    char byte = 0;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {{0}};
    struct iovec data = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(to, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int start_helper(void) {
    sigset_t all, mask; /* signals are Python's */
    pthread_attr_t small;
    sigfillset(&all);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    int error = -pthread_create(&helper, &small, help, NULL);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    pthread_attr_destroy(&small);
    return error;
}

int dsm_segv_open(void) {
    if (atomic_load(&line) >= 0 && owner == getpid()) return agents; /* a process has one agent */
    if (atomic_load(&line) >= 0) dsm_segv_close();                   /* the parent's */
    int one[2], two[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, one) < 0) return -errno;
    int error = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, two) < 0 ? -errno : 0;
    if (!error) {
        error = pass(one[0], two[1]);
        close(two[1]);
        if (!error) {
            atomic_store(&line, one[0]);
            acks = two[0];
            agents = one[1];
            owner = getpid();
            error = start_helper();
        }
        if (error) close(two[0]);
    }
    if (!error) {
        dsm_segv_arm(false);
        arm_stop();
        return one[1];
    }
    atomic_store(&line, -1);
    acks = agents = -1;
    close(one[0]);
    close(one[1]);
    return error;
}

bool dsm_segv_is(int fd) {
    return fd >= 0 && fd == agents;
}

static void release(uint32_t range) {
    void *rights = (void *)atomic_load(&ranges[range].rights);
    uint64_t pages = atomic_load(&ranges[range].bytes) / PAGE;
    atomic_store(&ranges[range].bytes, 0);
    atomic_store(&ranges[range].rights, NULL);
    munmap(rights, pages);
}

void dsm_segv_close(void) {
    bool child = owner != getpid();
    if (child)
        pthread_mutex_init(&mutex, NULL); /* whoever held it is the parent's */
    else {
        shutdown(atomic_load(&line), SHUT_RDWR);
        pthread_join(helper, NULL);
    }
    for (uint32_t i = 0; i < atomic_load(&used); i++) {
        uint64_t bytes = atomic_load(&ranges[i].bytes);
        void *start = (void *)(uintptr_t)atomic_load(&ranges[i].start);
        if (!bytes) continue;
        if (!child) mprotect(start, bytes, PROT_READ | PROT_WRITE);
        release(i);
    }
    wake(0, (uint64_t)BUCKETS * PAGE);
    close(atomic_load(&line));
    close(acks);
    close(agents);
    atomic_store(&line, -1);
    acks = agents = -1;
}

int dsm_segv_register(void *address, uint64_t bytes) {
    void *rights = mmap(NULL, bytes / PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (rights == MAP_FAILED) return -errno;
    pthread_mutex_lock(&mutex);
    uint32_t i = 0;
    while (i < atomic_load(&used) && atomic_load(&ranges[i].bytes))
        i++;
    int error = i == RANGES ? -ENOSPC : 0;
    if (!error && mprotect(address, bytes, PROT_NONE) < 0) error = -errno;
    if (!error) {
        atomic_store(&ranges[i].rights, rights);
        atomic_store(&ranges[i].start, (uintptr_t)address);
        atomic_store(&ranges[i].bytes, bytes);
        if (i == atomic_load(&used)) atomic_store(&used, i + 1);
        arm(false);
    }
    pthread_mutex_unlock(&mutex);
    if (error) munmap(rights, bytes / PAGE);
    return error;
}

void dsm_segv_unmap(void *address, uint64_t bytes) {
    if (atomic_load(&line) < 0 || owner != getpid()) {
        munmap(address, bytes);
        return;
    }
    pthread_mutex_lock(&mutex);
    int range = find((uintptr_t)address);
    if (range >= 0) release((uint32_t)range);
    munmap(address, bytes);
    pthread_mutex_unlock(&mutex);
    wake(0, (uint64_t)BUCKETS * PAGE);
}
