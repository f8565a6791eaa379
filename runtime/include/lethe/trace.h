/* SPDX-License-Identifier: MIT
 * Traces: recorded requests of a cache, to be replayed through policies.
 *
 * A trace is a list of requests that never changes: seconds, id, size, what it cost, and which
 * request asks for the same id next. It is read from a file in one pass, which checks every record.
 * A regular file in the format oracleGeneral is read again whenever its requests are; of all other
 * sources the requests are kept, and `next` is found by a second pass.
 *
 *   lethe_trace_open(&t, alloc, path, &options, why, n)       or lethe_trace_synthetic
 *   lethe_trace_info(t)                                       how many, how large
 *   uint64_t at = 0;                                          each reader has its own
 *   while (lethe_trace_read(t, &at, buffer, &requests, &n) == 0 && n > 0) ...
 *   lethe_trace_save(t, path)
 *   lethe_trace_put(t)
 *
 * Formats. Integers of binary ones are little-endian.
 *   oraclegeneral  records of 24 bytes: u32 seconds, u64 id, u32 size, i64 next: 1 + the index of
 *                  the record with the same id, -1: none, 0: not known (all are found anew then,
 *                  and where -1 is said of what comes again)
 *   recorded       the same, as a recorder leaves it also where it was cut off: next is found anew
 *   vscsi          records of 32 bytes, or of 40 in version 2, of SCSI commands: a block's number
 *                  is the id, the bytes transferred are the size
 *   csv            lines of fields, RFC 4180, separated by commas, semicolons, tabs or bars
 *   plain          an id per line
 * Records of size 0 are skipped. Ids of texts that are no integers are hashes of them.
 *
 * A recorder writes a trace, request by request, and fills in `next` when it is closed:
 *
 *   lethe_recorder_open(&r, alloc, path)
 *   lethe_recorder_add(r, seconds, id, size)
 *   lethe_recorder_close(r)
 *
 * Synchronization (X = callers must exclude each other, - = free):
 *                read  info  get, put  save
 *   read          -     -       -       -      with an `at` of its own
 *   a recorder is its caller's alone.
 * Progress: calls that read or write a file wait for it; the others do not block. */
#ifndef LETHE_TRACE_H
#define LETHE_TRACE_H

#include "lethe/replay.h"

struct lethe_trace;
struct lethe_recorder;

enum lethe_trace_format {
  LETHE_TRACE_ANY, /* by what is in the file */
  LETHE_TRACE_ORACLE,
  LETHE_TRACE_CSV,
  LETHE_TRACE_VSCSI,
  LETHE_TRACE_PLAIN,
  LETHE_TRACE_RECORDED
};
/* "oraclegeneral", ..., by format less 1; NULL-ended. */
LETHE_API extern const char *const lethe_trace_formats[];

/* Where a csv file has something: a name in its first line, or a number from 1; else nowhere. */
struct lethe_trace_column {
  const char *name;
  unsigned number;
};
enum lethe_trace_role {
  LETHE_TRACE_TIME,
  LETHE_TRACE_ID,
  LETHE_TRACE_SIZE,
  LETHE_TRACE_COST,
  LETHE_TRACE_ROLES
};
/* Zeroed: what the file says itself. */
struct lethe_trace_options {
  enum lethe_trace_format format;
  bool columns; /* are told; else they are those of usual names, or the first three */
  struct lethe_trace_column column[LETHE_TRACE_ROLES];
};

struct lethe_trace_info {
  enum lethe_trace_format format; /* LETHE_TRACE_ANY: made here */
  uint64_t len;                   /* requests */
  uint64_t objects, footprint;    /* different ids; their sizes when they came first */
  uint64_t bytes;                 /* of all requests */
  uint64_t skipped;               /* records of size 0 */
};

enum { LETHE_TRACE_BATCH = 1024 };

/* LETHE_ENOTFOUND; LETHE_EFORMAT, and `why` names the offset; LETHE_ESYSTEM: it cannot be read;
 * LETHE_ENOMEM. `why` says what for each. */
LETHE_API int lethe_trace_open(struct lethe_trace **out, const struct lethe_alloc *a,
                               const char *path, const struct lethe_trace_options *options,
                               char *why, size_t n);
LETHE_API struct lethe_trace *lethe_trace_get(struct lethe_trace *t);
LETHE_API void lethe_trace_put(struct lethe_trace *t); /* NULL is allowed */
LETHE_API const struct lethe_trace_info *lethe_trace_info(const struct lethe_trace *t);
/* The next requests, in `buffer` or elsewhere, valid until the buffer is used again; *n is 0 at the
 * end. LETHE_ESYSTEM where the file does not give what it gave before. */
LETHE_API int lethe_trace_read(const struct lethe_trace *t, uint64_t *at,
                               struct lethe_request buffer[LETHE_TRACE_BATCH],
                               const struct lethe_request **requests, size_t *n);
/* Writes it as oracleGeneral, which has whole seconds and no cost: LETHE_EUNWRITABLE; LETHE_ELIMIT
 * for a size that does not fit into 32 bits; LETHE_ENOMEM. */
LETHE_API int lethe_trace_save(const struct lethe_trace *t, const char *path);

/* The id of a text: the integer that it is, or a hash of it; and that hash of any bytes. */
LETHE_API uint64_t lethe_trace_id(const char *text, size_t n);
LETHE_API uint64_t lethe_trace_hash(const void *bytes, size_t n);

/* ---- synthetic ones -------------------------------------------------------------------------- */

enum lethe_synthetic_kind {
  LETHE_SYNTHETIC_ZIPF,
  LETHE_SYNTHETIC_SCAN,
  LETHE_SYNTHETIC_LOOP,
  LETHE_SYNTHETIC_MIXED
};
/* "zipf", ..., by kind; NULL-ended. */
LETHE_API extern const char *const lethe_synthetic_kinds[];

struct lethe_synthetic {
  enum lethe_synthetic_kind kind;
  uint64_t objects, requests; /* objects: 1 to 2^31 - 1 */
  double alpha;               /* of zipf: the k-th object is asked for k^-alpha as often; 0 to 8 */
  int64_t least, most;        /* sizes, drawn for each object */
  uint64_t seed;
};
/* The same on every machine: integers alone decide. LETHE_ENOMEM. */
LETHE_API int lethe_trace_synthetic(struct lethe_trace **out, const struct lethe_alloc *a,
                                    const struct lethe_synthetic *s);

/* ---- recorders ------------------------------------------------------------------------------- */

/* A new file, or one in the place of what is there. LETHE_EUNWRITABLE, LETHE_ENOMEM. */
LETHE_API int lethe_recorder_open(struct lethe_recorder **out, const struct lethe_alloc *a,
                                  const char *path);
/* seconds: below 0 is 0. A size below 1 is 1, one that does not fit into 32 bits the most that
 * does. What cannot be written is told by close. */
LETHE_API void lethe_recorder_add(struct lethe_recorder *r, double seconds, uint64_t id,
                                  int64_t size);
LETHE_API uint64_t lethe_recorder_count(const struct lethe_recorder *r);
/* Ends it, whatever it says: LETHE_EUNWRITABLE, some requests are not there; LETHE_ENOMEM: all are,
 * but `next` is not filled in. */
LETHE_API int lethe_recorder_close(struct lethe_recorder *r);

#endif
