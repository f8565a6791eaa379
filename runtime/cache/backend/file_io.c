/* SPDX-License-Identifier: MIT
 * The system calls of a file, in the pool's threads: reads and writes go on until they are whole,
 * whatever part of them the system does at a time and however often it is interrupted. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file_internal.h"

const struct lethe_file_io file_system_io = {pread, pwrite, fdatasync};

/* ---- opening --------------------------------------------------------------------------------- */

static int code_of(int error) {
  switch (error) {
  case ENOENT:
  case ENOTDIR:
    return LETHE_ENOTFOUND;
  case EACCES:
  case EPERM:
  case EROFS:
  case EISDIR:
  case ETXTBSY:
    return LETHE_EUNWRITABLE;
  case ENOMEM:
    return LETHE_ENOMEM;
  default:
    return LETHE_ESYSTEM;
  }
}

/* A fifo or a device without blocks has none to read and write. */
int file_open(struct file *f, bool create) {
  struct stat st;
  int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  f->fd = open(f->path, flags);
  if (f->fd < 0 && errno == ENOENT && create) {
    f->fd = open(f->path, flags | O_CREAT, 0666);
    f->made = f->fd >= 0;
  }
  if (f->fd < 0) return code_of(errno);
  if (fstat(f->fd, &st) != 0) return code_of(errno);
  return S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? LETHE_OK : LETHE_EUNWRITABLE;
}

void file_close(struct file *f) {
  if (f->fd >= 0) close(f->fd);
}

/* ---- whole reads and writes ------------------------------------------------------------------ */

/* Up to the end of the file; how much, or -1 with errno. */
static ssize_t read_all(const struct file *f, char *buf, size_t n, off_t offset) {
  size_t done = 0;
  while (done < n) {
    ssize_t got = -1;
    if (lethe_fault(LETHE_FAULT_READ))
      errno = EIO;
    else
      got = f->io.pread(f->fd, buf + done, n - done, offset + (off_t)done);
    if (got == 0) break;
    if (got > 0)
      done += (size_t)got;
    else if (errno != EINTR)
      return -1;
  }
  return (ssize_t)done;
}

/* A write of nothing, over and over, would be for ever. */
static int write_all(const struct file *f, const char *buf, size_t n, off_t offset) {
  size_t done = 0;
  while (done < n) {
    ssize_t put = -1;
    if (lethe_fault(LETHE_FAULT_WRITE))
      errno = EIO;
    else
      put = f->io.pwrite(f->fd, buf + done, n - done, offset + (off_t)done);
    if (put > 0)
      done += (size_t)put;
    else if (put == 0)
      errno = EIO;
    if (put == 0 || (put < 0 && errno != EINTR)) return -1;
  }
  return 0;
}

static int sync_data(const struct file *f) {
  int rc;
  do {
    if (lethe_fault(LETHE_FAULT_SYNC)) {
      errno = EIO;
      rc = -1;
    } else {
      rc = f->io.fdatasync(f->fd);
    }
  } while (rc != 0 && errno == EINTR);
  return rc;
}

/* What makes the name of a new file durable. */
static int sync_folder(const struct file *f) {
  int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
  if (fd < 0) return -1;
  do {
    rc = fsync(fd);
  } while (rc != 0 && errno == EINTR);
  int error = errno;
  close(fd);
  errno = error;
  return rc == 0 || error == EINVAL ? 0 : -1; /* EINVAL: not of this file system */
}

/* ---- operations ------------------------------------------------------------------------------ */

static void wrong(struct file *f, struct lethe_backend_op *op, const char *what, int error) {
  char text[64];
  const char *why = strerror_r(error, text, sizeof text);
  int rc = error == ENOSPC || error == EDQUOT ? LETHE_EFULL : LETHE_ESYSTEM;
  if (op->kind == LETHE_BACKEND_BARRIER)
    lethe_op_wrong(op, rc, "cannot %s: %s (%.80s)", what, why, f->path);
  else
    lethe_op_wrong(op, rc, "cannot %s block %lld: %s (%.80s)", what, (long long)op->key.number, why,
                   f->path);
}

static void load(struct file *f, struct lethe_backend_op *op) {
  off_t offset = (off_t)(op->key.number * (int64_t)f->block);
  ssize_t got = read_all(f, op->value, f->block, offset);
  if (got < 0)
    wrong(f, op, "read", errno);
  else if (got == 0)
    op->rc = LETHE_ENOTFOUND;
  else
    memset((char *)op->value + got, 0, f->block - (size_t)got);
}

static void flush(struct file *f, struct lethe_backend_op *op) {
  off_t offset = (off_t)(op->key.number * (int64_t)f->block);
  if (write_all(f, op->data, f->block, offset) != 0) wrong(f, op, "write", errno);
}

/* A second barrier at the same time does the same once more, which does no harm. */
static void barrier(struct file *f, struct lethe_backend_op *op) {
  pthread_mutex_lock(&f->lock);
  int error = f->broken;
  bool made = f->made;
  pthread_mutex_unlock(&f->lock);
  if (!error && (sync_data(f) != 0 || (made && sync_folder(f) != 0))) error = errno;
  pthread_mutex_lock(&f->lock);
  if (error)
    f->broken = error;
  else if (made)
    f->made = false;
  error = f->broken;
  pthread_mutex_unlock(&f->lock);
  if (error) wrong(f, op, "sync", error);
}

void file_work(struct file *f, struct lethe_backend_op *op) {
  switch (op->kind) {
  case LETHE_BACKEND_LOAD:
    load(f, op);
    break;
  case LETHE_BACKEND_FLUSH:
    flush(f, op);
    break;
  case LETHE_BACKEND_BARRIER:
    barrier(f, op);
    break;
  }
}
