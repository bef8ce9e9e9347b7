/*
 * Owns the bytes between QEMU and us: Ethernet frames on a stream socket, each after its length (32 bits, big endian),
 * as QEMU's "stream" back end has them.
 *
 * A frame that does not fit into the socket waits, and everything with it. That is the point: libslirp takes what was
 * handed over for sent, and a lost segment would be found missing by a timer only, the end of a connection perhaps never.
 * QEMU never waits for us in the same way (its own sending does not block), so that the two cannot stand still together.
 */
#include "frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define LENGTH_BYTES 4
#define ETHERNET_BYTES 14
/* With room for a VLAN tag. */
#define MAX_FRAME_BYTES (FRAMES_MAX_BYTES + ETHERNET_BYTES + 4)
/* Several frames at a time. */
#define BUFFER_BYTES (1 << 20)

/* Where an IPv6 frame has its type, its next header and the type of an ICMPv6 message. */
#define ETHERTYPE_AT 12
#define NEXT_HEADER_AT (ETHERNET_BYTES + 6)
#define ICMP6_TYPE_AT (ETHERNET_BYTES + 40)
#define ICMP6_ROUTER_ADVERTISEMENT 134

static int qemu = -1;
static uint8_t buffer[BUFFER_BYTES];
static size_t filled;

void frames_open(int fd)
{
    qemu = fd;
}

static void __attribute__((noreturn)) stop(const char *operation)
{
    if (errno == EPIPE || errno == ECONNRESET)
        exit(0);
    fprintf(stderr, "tskata-usernet: %s: %s\n", operation, strerror(errno));
    exit(1);
}

/* libslirp would give the guest an address and a route that its agent did not. */
static int announces_router(const uint8_t *frame, size_t length)
{
    return length > ICMP6_TYPE_AT && frame[ETHERTYPE_AT] == 0x86 && frame[ETHERTYPE_AT + 1] == 0xdd &&
           frame[NEXT_HEADER_AT] == IPPROTO_ICMPV6 && frame[ICMP6_TYPE_AT] == ICMP6_ROUTER_ADVERTISEMENT;
}

ssize_t frames_send(const void *frame, size_t length)
{
    uint32_t prefix = htonl((uint32_t)length);
    struct iovec parts[2] = { { &prefix, LENGTH_BYTES }, { (void *)frame, length } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    size_t left = LENGTH_BYTES + length;

    if (announces_router(frame, length))
        return (ssize_t)length;
    while (left > 0) {
        ssize_t sent = sendmsg(qemu, &message, MSG_NOSIGNAL);
        if (sent < 0) {
            struct pollfd room = { .fd = qemu, .events = POLLOUT };
            if (errno == EAGAIN)
                poll(&room, 1, -1);
            else if (errno != EINTR)
                stop("send a frame");
            continue;
        }
        left -= (size_t)sent;
        while (message.msg_iovlen > 0 && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
    return (ssize_t)length;
}

int frames_receive(Slirp *slirp)
{
    ssize_t count = recv(qemu, buffer + filled, sizeof buffer - filled, MSG_DONTWAIT);
    size_t at = 0;

    if (count == 0)
        return 1;
    if (count < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return 0;
        stop("receive frames");
    }
    filled += (size_t)count;
    while (filled - at >= LENGTH_BYTES) {
        uint32_t length;

        memcpy(&length, buffer + at, LENGTH_BYTES);
        length = ntohl(length);
        if (length > MAX_FRAME_BYTES) {
            fprintf(stderr, "tskata-usernet: a frame of %u bytes\n", length);
            exit(1);
        }
        if (filled - at - LENGTH_BYTES < length)
            break;
        slirp_input(slirp, buffer + at + LENGTH_BYTES, (int)length);
        at += LENGTH_BYTES + length;
    }
    memmove(buffer, buffer + at, filled - at);
    filled -= at;
    return 0;
}
