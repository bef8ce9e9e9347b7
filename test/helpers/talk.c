/*
 * Both ends of a conversation for tests of networks: "talk serve PORT" answers on TCP and UDP, both families, with the
 * address that it saw and what it was sent; "talk ask tcp|udp ADDRESS PORT WORDS" asks once and prints the answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define MOST 2048
#define ATTEMPTS 10

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static int listener(int type, int port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    int off = 0, on = 1, fd = socket(AF_INET6, type, 0);

    if (fd < 0)
        fail("socket");
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, sizeof address))
        fail("bind");
    if (type == SOCK_STREAM && listen(fd, 16))
        fail("listen");
    return fd;
}

/* "::ffff:10.0.0.1" is told as "10.0.0.1". */
static int answer(char *text, const struct sockaddr_in6 *peer, const char *said, int length)
{
    char name[INET6_ADDRSTRLEN];

    inet_ntop(AF_INET6, &peer->sin6_addr, name, sizeof name);
    return snprintf(text, MOST * 2, "%s said %.*s", strncmp(name, "::ffff:", 7) ? name : name + 7, length, said);
}

static void serve(int port)
{
    struct pollfd fds[2] = {{.fd = listener(SOCK_STREAM, port), .events = POLLIN},
                            {.fd = listener(SOCK_DGRAM, port), .events = POLLIN}};
    char said[MOST], text[MOST * 2];

    puts("serving");
    fflush(stdout);
    while (poll(fds, 2, -1) > 0) {
        struct sockaddr_in6 peer;
        socklen_t size = sizeof peer;
        if (fds[0].revents & POLLIN) {
            int client = accept(fds[0].fd, (struct sockaddr *)&peer, &size), length = 0, count;
            /* A whole line is enough: not every client can end its direction. */
            while (length < MOST && (count = read(client, said + length, MOST - length)) > 0) {
                length += count;
                if (memchr(said, '\n', length))
                    break;
            }
            if (write(client, text, answer(text, &peer, said, length)) < 0)
                perror("write");
            close(client);
        }
        size = sizeof peer;
        if (fds[1].revents & POLLIN) {
            int length = recvfrom(fds[1].fd, said, MOST, 0, (struct sockaddr *)&peer, &size);
            if (length >= 0)
                sendto(fds[1].fd, text, answer(text, &peer, said, length), 0, (struct sockaddr *)&peer, size);
        }
    }
}

static void ask(const char *protocol, const char *host, const char *port, const char *words)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
    int is_four = inet_pton(AF_INET, host, &four.sin_addr) == 1;
    int udp = !strcmp(protocol, "udp"), fd, attempt, length = 0, count;
    struct timeval patience = {.tv_sec = udp ? 2 : 20};
    char text[MOST * 2];

    if (!is_four && inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
        fail("address");
    fd = socket(is_four ? AF_INET : AF_INET6, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, is_four ? (void *)&four : (void *)&six, is_four ? sizeof four : sizeof six))
        fail("connect");
    for (attempt = 0; attempt < (udp ? ATTEMPTS : 1); attempt++) {
        if (write(fd, words, strlen(words)) < 0)
            fail("write");
        if (!udp)
            shutdown(fd, SHUT_WR);
        while ((count = read(fd, text + length, sizeof text - length)) > 0) {
            length += count;
            if (udp)
                break;
        }
        if (length > 0) {
            fwrite(text, 1, length, stdout);
            exit(0);
        }
    }
    fail("read");
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "serve"))
        serve(atoi(argv[2]));
    else if (argc == 6 && !strcmp(argv[1], "ask"))
        ask(argv[2], argv[3], argv[4], argv[5]);
    fprintf(stderr, "talk serve PORT | talk ask tcp|udp ADDRESS PORT WORDS\n");
    return 64;
}
