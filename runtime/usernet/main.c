/*
 * Owns the user-mode network of one guest: frames of QEMU's on one side, sockets of this process on the other, and
 * libslirp between them, which ends the guest's connections here and opens its own. It knows neither sandboxes nor
 * rules: where its sockets may go is decided by the kernel, outside of it.
 *
 *   tskata-usernet --fd N --mtu BYTES [--inet4 NETWORK,MASK,GUEST,GATEWAY,RESOLVER] [--inet6 PREFIX,LENGTH,GATEWAY,RESOLVER]
 *                  [--forward-resolver]
 *
 * With --forward-resolver the guest's RESOLVER address leads to the name server in /etc/resolv.conf.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libslirp.h>

#include "confine.h"
#include "frames.h"

/* sysexits.h: EX_USAGE, EX_OSERR. */
#define STATUS_USAGE 64
#define STATUS_SYSTEM 71
/* The library has one timer; more would be a library that we do not know. */
#define MAX_TIMERS 4
#define NO_DEADLINE INT64_MAX
#define INET4_FIELDS 5
#define INET6_FIELDS 4

struct timer {
    SlirpTimerCb fire;
    void *opaque;
    int64_t at_ms;
};

static struct timer timers[MAX_TIMERS];
static int timer_count;
static struct pollfd *polled;
static int polled_count, polled_room;

static void __attribute__((noreturn)) stop(int status, const char *operation, const char *subject)
{
    fprintf(stderr, "tskata-usernet: %s: %s\n", operation, subject);
    exit(status);
}

static int64_t now_ns(void *opaque)
{
    struct timespec now;

    (void)opaque;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t now_ms(void)
{
    return now_ns(NULL) / 1000000;
}

static void *timer_new(SlirpTimerCb fire, void *fire_opaque, void *opaque)
{
    (void)opaque;
    if (timer_count == MAX_TIMERS)
        stop(STATUS_SYSTEM, "make a timer", "libslirp wants too many");
    timers[timer_count] = (struct timer){ fire, fire_opaque, NO_DEADLINE };
    return &timers[timer_count++];
}

static void timer_free(void *timer, void *opaque)
{
    (void)opaque;
    ((struct timer *)timer)->at_ms = NO_DEADLINE;
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
    (void)opaque;
    ((struct timer *)timer)->at_ms = at_ms;
}

/* Milliseconds until the first timer or `limit`, whichever is sooner. */
static uint32_t until_timer(uint32_t limit)
{
    const int64_t now = now_ms();
    int64_t wait = limit;
    int i;

    for (i = 0; i < timer_count; i++) {
        int64_t left = timers[i].at_ms - now;
        if (timers[i].at_ms != NO_DEADLINE && left < wait)
            wait = left < 0 ? 0 : left;
    }
    return (uint32_t)wait;
}

static void fire_timers(void)
{
    int i;

    for (i = 0; i < timer_count; i++) {
        if (timers[i].at_ms > now_ms())
            continue;
        timers[i].at_ms = NO_DEADLINE;
        timers[i].fire(timers[i].opaque);
    }
}

static const struct {
    int slirp;
    short event;
} events[] = {
    { SLIRP_POLL_IN, POLLIN },   { SLIRP_POLL_OUT, POLLOUT }, { SLIRP_POLL_PRI, POLLPRI },
    { SLIRP_POLL_ERR, POLLERR }, { SLIRP_POLL_HUP, POLLHUP },
};
#define EVENT_COUNT (sizeof events / sizeof events[0])

static int add_poll(int fd, int wanted, void *opaque)
{
    struct pollfd entry = { .fd = fd };
    size_t i;

    (void)opaque;
    for (i = 0; i < EVENT_COUNT; i++)
        if (wanted & events[i].slirp)
            entry.events |= events[i].event;
    if (polled_count == polled_room) {
        polled_room = polled_room ? 2 * polled_room : 64;
        polled = realloc(polled, (size_t)polled_room * sizeof *polled);
        if (!polled)
            stop(STATUS_SYSTEM, "poll", strerror(errno));
    }
    polled[polled_count] = entry;
    return polled_count++;
}

static int get_events(int index, void *opaque)
{
    int found = 0;
    size_t i;

    (void)opaque;
    for (i = 0; i < EVENT_COUNT; i++)
        if (polled[index].revents & events[i].event)
            found |= events[i].slirp;
    return found;
}

static ssize_t send_packet(const void *frame, size_t length, void *opaque)
{
    (void)opaque;
    return frames_send(frame, length);
}

/* The guest's mistakes are its own affair, and may not fill a log of the host's. */
static void ignore_guest_error(const char *message, void *opaque)
{
    (void)message, (void)opaque;
}

static void ignore_fd(int fd, void *opaque)
{
    (void)fd, (void)opaque;
}

static void ignore(void *opaque)
{
    (void)opaque;
}

static const SlirpCb callbacks = {
    .send_packet = send_packet,
    .guest_error = ignore_guest_error,
    .clock_get_ns = now_ns,
    .timer_new = timer_new,
    .timer_free = timer_free,
    .timer_mod = timer_mod,
    .register_poll_fd = ignore_fd,
    .unregister_poll_fd = ignore_fd,
    .notify = ignore,
};

/* Cuts a list at its commas. The number of fields must be exact. */
static void split(char *list, char **fields, int count)
{
    char *rest = list;
    int i;

    for (i = 0; i < count; i++)
        if (!(fields[i] = strsep(&rest, ",")))
            stop(STATUS_USAGE, "too few addresses", list);
    if (rest)
        stop(STATUS_USAGE, "too many addresses", rest);
}

static void address(int family, const char *text, void *result)
{
    if (inet_pton(family, text, result) != 1)
        stop(STATUS_USAGE, "not an address", text);
}

static unsigned long number(const char *text, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (end == text || *end || value > most)
        stop(STATUS_USAGE, "not a number in its range", text);
    return value;
}

static void read_inet4(SlirpConfig *config, char *list)
{
    char *fields[INET4_FIELDS];

    split(list, fields, INET4_FIELDS);
    config->in_enabled = true;
    address(AF_INET, fields[0], &config->vnetwork);
    address(AF_INET, fields[1], &config->vnetmask);
    address(AF_INET, fields[2], &config->vdhcp_start);
    address(AF_INET, fields[3], &config->vhost);
    address(AF_INET, fields[4], &config->vnameserver);
}

static void read_inet6(SlirpConfig *config, char *list)
{
    char *fields[INET6_FIELDS];

    split(list, fields, INET6_FIELDS);
    config->in6_enabled = true;
    address(AF_INET6, fields[0], &config->vprefix_addr6);
    config->vprefix_len = (uint8_t)number(fields[1], 128);
    address(AF_INET6, fields[2], &config->vhost6);
    address(AF_INET6, fields[3], &config->vnameserver6);
}

/* Returns the descriptor of the socket to QEMU. */
static int read_arguments(int argc, char **argv, SlirpConfig *config)
{
    static const struct option options[] = {
        { "fd", required_argument, NULL, 'f' },    { "mtu", required_argument, NULL, 'm' },
        { "inet4", required_argument, NULL, '4' }, { "inet6", required_argument, NULL, '6' },
        { "forward-resolver", no_argument, NULL, 'd' }, { 0 },
    };
    int fd = -1, option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'f')
            fd = (int)number(optarg, 1 << 16);
        else if (option == 'm')
            config->if_mtu = config->if_mru = number(optarg, FRAMES_MAX_BYTES);
        else if (option == '4')
            read_inet4(config, optarg);
        else if (option == '6')
            read_inet6(config, optarg);
        else if (option == 'd')
            config->disable_dns = false;
        else
            stop(STATUS_USAGE, "arguments", "see the head of main.c");
    }
    if (fd < 0 || optind != argc)
        stop(STATUS_USAGE, "arguments", "--fd is missing, or one has no option");
    return fd;
}

int main(int argc, char **argv)
{
    /* Nothing is announced: the guest is configured by its agent. */
    SlirpConfig config = { .version = 4, .disable_host_loopback = true, .disable_dhcp = true, .disable_dns = true };
    const int fd = read_arguments(argc, argv, &config);
    Slirp *slirp = slirp_new(&config, &callbacks, NULL);

    if (!slirp)
        stop(STATUS_USAGE, "start libslirp", "it does not take these addresses");
    frames_open(fd);
    if (confine())
        stop(STATUS_SYSTEM, "set the system call filter", strerror(errno));
    for (;;) {
        uint32_t wait = INT32_MAX;
        int ready;

        polled_count = 0;
        add_poll(fd, SLIRP_POLL_IN, NULL);
        slirp_pollfds_fill(slirp, &wait, add_poll, NULL);
        ready = poll(polled, (nfds_t)polled_count, (int)until_timer(wait < INT32_MAX ? wait : INT32_MAX));
        if (ready < 0 && errno != EINTR)
            stop(STATUS_SYSTEM, "poll", strerror(errno));
        slirp_pollfds_poll(slirp, ready < 0, get_events, NULL);
        fire_timers();
        if (ready > 0 && polled[0].revents && frames_receive(slirp))
            return 0;
    }
}
