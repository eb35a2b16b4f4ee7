/*
 * The floor: what it costs to hand one paced stream to many clients, if nothing else is done.
 *
 *     cc -O2 -o floor floor.c && ./floor CHUNK_SIZE BIT_RATE
 *
 * Prints the port it listens on, on 127.0.0.1. Whatever a client asks for, it gets each chunk from then on by one send().
 * There is no upstream, no history, and no patience: what a full socket does not take is lost. Like any simple sender it
 * looks every 2 ms whether something is due or somebody came; with few clients that is a part of what it costs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 20000 };

static const char HEADERS[] = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";

static int clients[MOST_CLIENTS];
static int client_count;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + 1e-9 * time.tv_nsec;
}

static int listen_and_tell(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, length) || listen(listening, 4096) ||
        getsockname(listening, (struct sockaddr *)&address, &length))
        fail("cannot listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listening;
}

static void admit_all(int listening)
{
    char request[4096];
    int client;
    while (client_count < MOST_CLIENTS && (client = accept(listening, NULL, NULL)) >= 0) {
        /* The request follows the connection at once: a benchmark's clients do not dawdle, so waiting is safe. */
        if (recv(client, request, sizeof request, 0) <= 0 || send(client, HEADERS, sizeof HEADERS - 1, MSG_NOSIGNAL) < 0)
            close(client);
        else
            clients[client_count++] = client;
    }
}

static void send_to_all(const char *chunk, size_t size)
{
    for (int i = 0; i < client_count; i++) {
        if (send(clients[i], chunk, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN) {
            close(clients[i]);
            clients[i--] = clients[--client_count];
        }
    }
}

int main(int count, char **arguments)
{
    if (count != 3)
        return fprintf(stderr, "usage: %s CHUNK_SIZE BIT_RATE\n", arguments[0]), 2;
    size_t size = strtoul(arguments[1], NULL, 10);
    double period = size * 8 / strtod(arguments[2], NULL);
    char *chunk = malloc(size);
    if (!chunk)
        fail("no memory");
    int listening = listen_and_tell();
    double due = now() + period;
    for (unsigned char fill = 0;; fill++) {
        while (now() < due) {
            admit_all(listening);
            usleep(2000);
        }
        memset(chunk, fill, size); /* as fresh in the cache as what has just been received */
        send_to_all(chunk, size);
        due += period;
    }
}
