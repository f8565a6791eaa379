# SPDX-License-Identifier: MIT
# lethe. `make help` lists the targets; `make demo` and `make test` do all the set-up themselves.

ifeq ($(origin CC),default)
CC := gcc
endif
LUA ?= lua5.4
CFLAGS ?= -O2 -g
PREFIX ?= /usr/local
SAN ?=

WARNINGS := -Wall -Wextra -Wshadow -Wundef -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
  -Wwrite-strings -Wvla
LUA_INCDIR ?= /usr/include/lua5.4

# A variant builds into a folder of its own, so that they stand beside each other.
ifeq ($(SAN),)
B := build
else ifeq ($(SAN),address)
B := build/address
SANFLAGS := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined -DLETHE_FAULTS
else ifeq ($(SAN),thread)
B := build/thread
SANFLAGS := -fsanitize=thread -DLETHE_FAULTS
else
$(error SAN is address, thread or empty)
endif

ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -fPIC -fvisibility=hidden -fno-common -pthread \
  -Iruntime/include -I$(LUA_INCDIR) $(CFLAGS) $(SANFLAGS)
LIBS := -levent_core -levent_pthreads -lm -pthread

RUNTIME := $(wildcard runtime/*/*.c)
BINDINGS := $(filter-out bindings/main.c bindings/repl.c,$(wildcard bindings/*.c))
PROGRAM := $(wildcard bindings/main.c bindings/repl.c)
LUA_FILES := $(shell find lua/lethe -name '*.lua' -not -path '*/meta/*')
objects = $(patsubst %.c,$(B)/o/%.o,$(1))

.PHONY: all
all: $(B)/lethe $(B)/lethe.so ## build the executable and the shared object (default)

$(B)/o/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/liblethe.a: $(call objects,$(RUNTIME))
	@rm -f $@
	ar rcs $@ $^

# nodelete: the allocator of track_state and thread-exit hooks outlive dlclose.
$(B)/lethe.so: $(call objects,$(BINDINGS) $(RUNTIME))
	$(CC) -shared $(SANFLAGS) $(LDFLAGS) -Wl,-z,nodelete -o $@ $^ $(LIBS)

$(B)/embed.c: bindings/embed.lua $(LUA_FILES)
	@mkdir -p $(@D)
	$(LUA) bindings/embed.lua $(LUA_FILES) > $@.new && mv $@.new $@

$(B)/o/embed.o: $(B)/embed.c
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(B)/lethe: $(call objects,$(PROGRAM) $(BINDINGS) $(RUNTIME)) $(B)/o/embed.o
	$(CC) $(SANFLAGS) $(LDFLAGS) -Wl,-E -o $@ $^ -llua5.4 -lreadline $(LIBS)

.PHONY: env
env: ## print the export lines with which a stock lua5.4 finds the built modules
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;;"'
	@echo 'export LUA_CPATH="$(CURDIR)/$(B)/?.so;;"'

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 16

-include $(shell find $(B)/o -name '*.d' 2>/dev/null)
