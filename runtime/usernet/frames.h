#ifndef TSKATA_USERNET_FRAMES_H
#define TSKATA_USERNET_FRAMES_H

#include <stddef.h>
#include <sys/types.h>

#include <libslirp.h>

/* The largest packet that is carried, without its Ethernet header. */
#define FRAMES_MAX_BYTES 65521

/* Takes the stream socket to QEMU into use. */
void frames_open(int fd);

/* Sends one frame to the guest, waiting for room: nothing is ever dropped here. Ends the process when QEMU is gone. */
ssize_t frames_send(const void *frame, size_t length);

/* Hands on what the guest has sent. Returns nonzero when QEMU has closed the socket. */
int frames_receive(Slirp *slirp);

#endif
