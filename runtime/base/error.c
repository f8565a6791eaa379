/* SPDX-License-Identifier: MIT
 * Error codes, their messages and their stable words: one table, indexed by -code. */
#include "lethe/base.h"

static const struct {
  const char *name, *message;
} errors[] = {
    [-LETHE_OK] = {"ok", "no error"},
    [-LETHE_ENOMEM] = {"no_memory", "not enough memory"},
    [-LETHE_EINVAL] = {"invalid", "invalid argument"},
    [-LETHE_ECLOSED] = {"closed", "already closed"},
    [-LETHE_ESHUTDOWN] = {"tracker_shutdown", "the tracker is shut down"},
    [-LETHE_EACCOUNT] = {"account_closed", "the account is closed"},
    [-LETHE_EPARTICIPANT] = {"participant_shutdown", "the participant is shut down"},
    [-LETHE_ELIMIT] = {"over_limit", "the claim would take an account past its max"},
    [-LETHE_EDUPLICATE] = {"duplicate_child", "already a child of that account"},
    [-LETHE_ECYCLE] = {"cycle", "the account is its own ancestor then"},
    [-LETHE_EFOREIGN] = {"other_tracker", "the account belongs to another tracker"},
    [-LETHE_ELIMITS] = {"bad_limits", "the limits do not fit each other"},
    [-LETHE_EPOLICY] = {"bad_policy", "no such policy"},
    [-LETHE_ETIMEOUT] = {"timeout", "timed out"},
    [-LETHE_ECANCELLED] = {"cancelled", "cancelled"},
    [-LETHE_EBROKEN] = {"broken", "the accounting is broken"},
    [-LETHE_ETHREAD] = {"no_thread", "the system refused a thread"},
    [-LETHE_ESYSTEM] = {"system", "the system refused the call"},
    [-LETHE_EFULL] = {"full", "no room is left"},
    [-LETHE_EREGISTERED] = {"already_registered", "the thread is registered already"},
    [-LETHE_ENEUTRALIZED] = {"neutralized", "the pin was neutralized"},
    [-LETHE_EEXISTS] = {"exists", "already there"},
    [-LETHE_ENOTFOUND] = {"not_found", "not there"},
    [-LETHE_EEMPTY] = {"empty", "nothing is there"},
    [-LETHE_ENUMBER] = {"not_a_number", "the value is no number"},
    [-LETHE_EUNKNOWN] = {"unknown", "no such name"},
    [-LETHE_ELOAD] = {"load_failed", "the load failed"},
    [-LETHE_EFLUSH] = {"flush_failed", "what is dirty could not be written"},
    [-LETHE_EALLINUSE] = {"all_in_use", "every entry of the cache is in use"},
    [-LETHE_EINUSE] = {"in_use", "the entry is in use"},
    [-LETHE_EUNWRITABLE] = {"unwritable", "it cannot be written"},
    [-LETHE_EUNAVAILABLE] = {"unavailable", "nothing answers there"},
    [-LETHE_EFORMAT] = {"bad_format", "it has another format"},
};

const char *lethe_strerror(int code) {
  return code > 0 || code < LETHE_ELAST ? "unknown error" : errors[-code].message;
}

const char *lethe_errname(int code) {
  return code > 0 || code < LETHE_ELAST ? "unknown" : errors[-code].name;
}
