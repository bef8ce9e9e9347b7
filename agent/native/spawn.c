/*
 * Owns the way from a plan to a process: clone (through an intermediate process when namespaces are to be entered
 * first), and in the child the interpreter of the steps. The child never returns to JavaScript.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plan.h"

/* The child's end when the plan is at fault; nobody reads it, the status packet tells. */
#define STATUS_PLAN_FAILED 127
/* The kernel's signal numbers end here on every architecture that we build for. */
#define LAST_SIGNAL 64

enum packet_kind { PACKET_SYNC = 1, PACKET_FAILED = 2 };

struct packet {
    int32_t kind, step, error, fd;
};

/* What the intermediate process tells its parent, in shared memory. */
struct handover {
    int error, pid, pidfd;
};

static void send_packet(int status_fd, int kind, int step, int error, int fd)
{
    struct packet packet = {kind, step, error, fd};
    while (send(status_fd, &packet, sizeof packet, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

static _Noreturn void fail(int status_fd, int step, int error)
{
    send_packet(status_fd, PACKET_FAILED, step, error, -1);
    _exit(STATUS_PLAN_FAILED);
}

/* A container's process starts with no handler, nothing ignored, nothing blocked. */
static void reset_signals(void)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action = {0};
    uint64_t none = 0;
    int number;

    for (number = 1; number <= LAST_SIGNAL; number++)
        syscall(SYS_rt_sigaction, number, &action, NULL, sizeof none);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

/* Only 0 to 2, the status socket and the slots stay: a peer's end held here would hide the end of our parent. */
static int close_others(const struct plan *plan, int status_fd)
{
    int lowest = 3;

    for (;;) {
        int next = status_fd >= lowest ? status_fd : INT_MAX, i;
        for (i = 0; i < PLAN_SLOTS; i++)
            if (plan->slots[i] >= lowest && plan->slots[i] < next)
                next = plan->slots[i];
        if (next > lowest &&
            syscall(SYS_close_range, lowest, next == INT_MAX ? UINT_MAX : (unsigned int)next - 1, 0) < 0)
            return -errno;
        if (next == INT_MAX)
            return 0;
        lowest = next + 1;
    }
}

static long slot_or_value(const struct plan *plan, const struct operand *operand)
{
    return operand->is_slot ? plan->slots[operand->value] : operand->value;
}

static int ignored(const struct step *step, int error)
{
    int i;
    for (i = 0; i < step->ignore_count; i++)
        if (step->ignore[i] == error)
            return 1;
    return 0;
}

static int do_call(struct plan *plan, const struct step *step)
{
    const struct operand *operands = step->call.operands;
    long result = syscall(step->call.number, slot_or_value(plan, &operands[0]), slot_or_value(plan, &operands[1]),
                          slot_or_value(plan, &operands[2]), slot_or_value(plan, &operands[3]),
                          slot_or_value(plan, &operands[4]), slot_or_value(plan, &operands[5]));

    if (step->result >= 0)
        plan->slots[step->result] = result < 0 ? -1 : (int)result;
    if (result < 0)
        return -errno;
    return 0;
}

static int do_write(const struct step *step)
{
    ssize_t written;
    int fd = open(step->write.path, O_WRONLY | O_CLOEXEC | step->write.flags, 0644), error = 0;

    if (fd < 0)
        return -errno;
    written = write(fd, step->write.bytes.start, step->write.bytes.length);
    if (written < 0)
        error = -errno;
    else if ((size_t)written != step->write.bytes.length)
        error = -EIO;
    close(fd);
    return error;
}

static int do_resolve(struct plan *plan, const struct step *step)
{
    int fd = resolve_in_root(plan->slots[step->resolve.root], step->resolve.path, step->resolve.leaf,
                             step->resolve.create, step->resolve.mode);

    plan->slots[step->result] = fd < 0 ? -1 : fd;
    if (fd < 0 && step->resolve.optional && (fd == -ENOENT || fd == -ENOTDIR))
        return 0;
    return fd < 0 ? fd : 0;
}

static int do_sync(const struct plan *plan, const struct step *step, int status_fd, int index)
{
    char byte;
    ssize_t count;

    send_packet(status_fd, PACKET_SYNC, index, 0, step->sync.fd < 0 ? -1 : plan->slots[step->sync.fd]);
    do {
        count = read(status_fd, &byte, 1);
    } while (count < 0 && errno == EINTR);
    if (count != 1)
        _exit(STATUS_PLAN_FAILED);
    return 0;
}

static int do_seccomp(const struct step *step)
{
    struct sock_fprog program = {.len = (unsigned short)(step->seccomp.filter.length / 8),
                                 .filter = (struct sock_filter *)step->seccomp.filter.start};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, step->seccomp.flags, &program) < 0 ? -errno : 0;
}

/* Out of the way of the numbers that will be overwritten. */
static int move_up(int *fd, int count)
{
    int moved;

    if (*fd < 0 || *fd >= count)
        return 0;
    moved = fcntl(*fd, F_DUPFD_CLOEXEC, count);
    if (moved < 0)
        return -errno;
    *fd = moved;
    return 0;
}

static int do_stdio(struct plan *plan, const struct step *step, int *status_fd)
{
    int count = step->stdio.count, i, error;

    if ((error = move_up(status_fd, count)))
        return error;
    /* Only what is used here: another slot may name a descriptor that a step has closed. */
    for (i = 0; i < count; i++)
        if ((error = move_up(&plan->slots[step->stdio.slots[i]], count)))
            return error;
    for (i = 0; i < count; i++)
        if (dup2(plan->slots[step->stdio.slots[i]], i) < 0)
            return -errno;
    return syscall(SYS_close_range, count, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0 ? -errno : 0;
}

static int do_exec(const struct step *step)
{
    char path[PATH_MAX];
    int error = ENOENT, denied = 0, i;

    if (strchr(step->exec.path, '/') || !step->exec.search[0]) {
        execve(step->exec.path, step->exec.argv, step->exec.env);
        return -errno;
    }
    if (!*step->exec.path)
        return -ENOENT;
    for (i = 0; step->exec.search[i]; i++) {
        int length = snprintf(path, sizeof path, "%s/%s", step->exec.search[i], step->exec.path);
        if (length < 0 || (size_t)length >= sizeof path)
            continue;
        execve(path, step->exec.argv, step->exec.env);
        error = errno;
        if (error == EACCES)
            denied = 1;
        else if (error != ENOENT && error != ENOTDIR)
            return -error;
    }
    return denied ? -EACCES : -ENOENT;
}

static int do_step(struct plan *plan, int index, int *status_fd)
{
    const struct step *step = &plan->steps[index];

    switch (step->kind) {
    case STEP_CALL:
        return do_call(plan, step);
    case STEP_WRITE:
        return do_write(step);
    case STEP_RESOLVE:
        return do_resolve(plan, step);
    case STEP_SYNC:
        return do_sync(plan, step, *status_fd, index);
    case STEP_SECCOMP:
        return do_seccomp(step);
    case STEP_STDIO:
        return do_stdio(plan, step, status_fd);
    case STEP_EXEC:
        return do_exec(step);
    case STEP_EXIT:
        _exit(step->exit.status);
    }
    return -ENOSYS;
}

static _Noreturn void run_child(struct plan *plan, int status_fd, int parent_fd)
{
    int error;
    uint32_t i;

    reset_signals();
    /* Until exec nobody in the child's namespaces may look into what is still a copy of its parent. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    close(parent_fd);
    if (status_fd < 3) {
        int moved = fcntl(status_fd, F_DUPFD_CLOEXEC, 3);
        if (moved < 0)
            fail(status_fd, -1, errno);
        close(status_fd);
        status_fd = moved;
    }
    if ((error = close_others(plan, status_fd)))
        fail(status_fd, -1, -error);
    for (i = 0; i < plan->step_count; i++) {
        error = do_step(plan, (int)i, &status_fd);
        if (error && !ignored(&plan->steps[i], -error))
            fail(status_fd, (int)i, -error);
    }
    /* A plan ends with exec or exit. */
    fail(status_fd, (int)plan->step_count, EINVAL);
}

static int clone_child(struct plan *plan, uint64_t extra_flags, int *pidfd, int status_fd, int parent_fd)
{
    struct clone_args arguments = {.flags = plan->clone_flags | CLONE_PIDFD | extra_flags,
                                   .pidfd = (uint64_t)(uintptr_t)pidfd,
                                   /* With CLONE_PARENT the kernel takes the signal of the intermediate process. */
                                   .exit_signal = extra_flags & CLONE_PARENT ? 0 : SIGCHLD};
    long pid;

    if (plan->cgroup_fd >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (uint64_t)plan->cgroup_fd;
    }
    pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        run_child(plan, status_fd, parent_fd);
    return pid < 0 ? -errno : (int)pid;
}

static _Noreturn void run_intermediate(struct plan *plan, struct handover *handover, int status_fd, int parent_fd)
{
    int i;

    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    for (i = 0; i < plan->enter_count; i++) {
        if (syscall(SYS_setns, plan->enter[i].fd, plan->enter[i].type) < 0) {
            handover->error = errno;
            _exit(1);
        }
    }
    handover->pid = clone_child(plan, CLONE_PARENT, &handover->pidfd, status_fd, parent_fd);
    handover->error = handover->pid < 0 ? -handover->pid : 0;
    _exit(0);
}

/*
 * The intermediate process shares our descriptor table, so that the child's pidfd lands in it, but not our memory: a
 * process inside the entered namespaces must never see that.
 */
static int clone_through_intermediate(struct plan *plan, int *pidfd, int status_fd, int parent_fd)
{
    struct clone_args arguments = {.flags = CLONE_FILES, .exit_signal = SIGCHLD};
    struct handover *handover;
    siginfo_t info;
    long pid;
    int result;

    handover = mmap(NULL, sizeof *handover, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (handover == MAP_FAILED)
        return -errno;
    /* Overwritten by whatever happens, unless the process is killed. */
    handover->error = ESRCH;
    pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        run_intermediate(plan, handover, status_fd, parent_fd);
    if (pid < 0) {
        result = -errno;
    } else {
        while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
            ;
        *pidfd = handover->pidfd;
        result = handover->error ? -handover->error : handover->pid;
    }
    munmap(handover, sizeof *handover);
    return result;
}

static JSValue child_object(JSContext *ctx, int pid, int pidfd, int status_fd)
{
    JSValue object = JS_NewObject(ctx);

    if (JS_IsException(object))
        return object;
    JS_SetPropertyStr(ctx, object, "pid", JS_NewInt32(ctx, pid));
    JS_SetPropertyStr(ctx, object, "pidfd", JS_NewInt32(ctx, pidfd));
    JS_SetPropertyStr(ctx, object, "statusFd", JS_NewInt32(ctx, status_fd));
    return object;
}

JSValue sys_spawn(JSContext *ctx, JSValueConst this_value, int argc, JSValueConst *argv)
{
    struct plan plan;
    int ends[2], pid, pidfd = -1;

    (void)this_value;
    if (plan_read(ctx, argc > 0 ? argv[0] : JS_UNDEFINED, &plan)) {
        plan_free(&plan);
        return JS_EXCEPTION;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        plan_free(&plan);
        return JS_NewInt32(ctx, -errno);
    }
    fflush(stderr);
    if (plan.enter_count > 0)
        pid = clone_through_intermediate(&plan, &pidfd, ends[1], ends[0]);
    else
        pid = clone_child(&plan, 0, &pidfd, ends[1], ends[0]);
    plan_free(&plan);
    close(ends[1]);
    if (pid < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK)) {
        close(ends[0]);
        return JS_NewInt32(ctx, pid < 0 ? pid : -EIO);
    }
    return child_object(ctx, pid, pidfd, ends[0]);
}
