/* SPDX-License-Identifier: MIT
 * A small web server of one loop, for looking at a running program: GET only, on the loopback
 * address only, on libevent's evhttp.
 *
 * A request waits in the server until the loop's next turn, which hands it to the caller's
 * `answer`; that ends with one lethe_http_reply, at once or later, on the loop's thread. What must
 * not be answered is refused before: a Host header that names another machine (a page elsewhere
 * that had this address resolved for it) with 403, another method than GET with 405, a request
 * beyond LETHE_HTTP_HEADERS bytes, or with a body beyond LETHE_HTTP_BODY, with 4xx. Each connection
 * has one request and few seconds in all, so a slow reader costs a buffer for that long and nobody
 * waits for it.
 *
 *   lethe_http_start(&server, alloc, loop, port, 0, answer, ud)   lethe_http_port(server)
 *   lethe_http_reply(request, status, type, body, n)              lethe_http_stop(server)
 *
 * Synchronization: everything on the loop's thread. An open server keeps its loop alive. */
#ifndef LETHE_HTTP_H
#define LETHE_HTTP_H

#include "lethe/loop.h"

struct lethe_http;
struct lethe_http_request;

enum { LETHE_HTTP_HEADERS = 8192, LETHE_HTTP_BODY = 8192, LETHE_HTTP_SECONDS = 5 };

/* `path` is decoded, begins with a slash, has no query, and lives until the reply. */
typedef void lethe_http_answer(void *ud, struct lethe_http_request *r, const char *path);

/* port 0: any free one; seconds: what a connection has, 0 for LETHE_HTTP_SECONDS. LETHE_EINUSE when
 * the port is in use, LETHE_ESYSTEM, LETHE_ENOMEM, LETHE_ECLOSED. */
LETHE_API int lethe_http_start(struct lethe_http **out, const struct lethe_alloc *a,
                               struct lethe_loop *loop, uint16_t port, double seconds,
                               lethe_http_answer *answer, void *ud);
LETHE_API uint16_t lethe_http_port(const struct lethe_http *h);
/* Ends a request: the body is copied. Cannot fail; without memory the connection closes. */
LETHE_API void lethe_http_reply(struct lethe_http_request *r, int status, const char *type,
                                const void *body, size_t n);
/* Closes the port and what is connected; requests under way are refused and gone. */
LETHE_API void lethe_http_stop(struct lethe_http *h);

#endif
