# SPDX-License-Identifier: MIT
# lethe. `make help` lists the targets; `make demo` and `make test` do all the set-up themselves.
# What is more than a line or two of shell lives in spec/tools/.

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
LUA ?= lua5.4
LUA_INCDIR ?= /usr/include/lua5.4
LUA_LIBS ?= -llua5.4
LUAROCKS ?= luarocks --lua-version 5.4
CFLAGS ?= -O2 -g
LIBFLAG ?= -shared
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCDIR ?= $(PREFIX)/include
SHAREDIR ?= $(PREFIX)/share
INST_LIBDIR ?= $(LIBDIR)/lua/5.4
INST_LUADIR ?= $(SHAREDIR)/lua/5.4
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
SAN ?=
V ?=

VERSION := $(shell sed -n 's/^\#define LETHE_VERSION "lethe \(.*\)"/\1/p' bindings/common.h)

# Debian 12's names. lethe.spec needs lua-unit and lua-luassert when it runs, not to be built.
BUILD_PACKAGES := gcc libc6-dev make lua5.4 liblua5.4-dev libevent-dev libhiredis-dev \
  libreadline-dev libxxhash-dev
TEST_PACKAGES := lua-unit lua-luassert lua-busted lua-check libcmocka-dev clang libclang-rt-dev \
  clang-format clang-tidy cppcheck shellcheck luarocks libxml2-utils pkg-config mandoc zsh \
  liburcu-dev libck-dev python3-prometheus-client redis-server chromium
TORTURE_PACKAGES := valgrind gcovr
# One peer needs a LuaJIT that excludes the other one: where that is, it is left out.
BENCH_PACKAGES := lua-resty-lrucache luajit2

# A variant builds into a folder of its own, so that they stand beside each other.
ifeq ($(SAN),)
B := build
else ifeq ($(SAN),address)
B := build/address
SANFLAGS := -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined \
  -DLETHE_FAULTS
else ifeq ($(SAN),thread)
B := build/thread
SANFLAGS := -fsanitize=thread -DLETHE_FAULTS
else ifeq ($(SAN),cover)
B := build/cover
SANFLAGS := --coverage -fprofile-update=atomic -DLETHE_FAULTS
else
$(error SAN is address, thread, cover or empty)
endif

# Of a shell with the modules of some build in reach (`make env`), nothing is built or tested here.
unexport LUA_PATH LUA_CPATH LUA_PATH_5_4 LUA_CPATH_5_4 LUA_INIT LUA_INIT_5_4

WARNINGS := -Wall -Wextra -Wshadow -Wundef -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
  -Wwrite-strings -Wvla
CORE_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -fPIC -fvisibility=hidden -fno-common -pthread \
  -falign-functions=32 -Iruntime/include $(CPPFLAGS) $(CFLAGS) $(SANFLAGS)
LUA_CFLAGS = $(CORE_CFLAGS) -I$(LUA_INCDIR)
LIBS := -lhiredis -levent_core -levent_extra -levent_pthreads -lm -pthread

RUNTIME := $(wildcard runtime/*/*.c runtime/*/*/*.c)
PROGRAM := $(wildcard bindings/main.c bindings/repl.c)
BINDINGS := $(filter-out $(PROGRAM),$(wildcard bindings/*.c))
LUA_FILES := $(sort $(shell find lua/lethe -name '*.lua' -not -path '*/meta/*'))
STUBS := $(sort $(wildcard lua/lethe/meta/*.lua))
HEADERS := $(sort $(wildcard runtime/include/lethe/*.h))

# C tests and benches are programs without Lua, but for those that include a header of Lua's or of
# the bindings' (by its bare name).
none :=
space := $(none) $(none)
our_headers := $(basename $(notdir $(wildcard bindings/*.h)))
lua_header := [<"](lua|lauxlib|($(subst $(space),|,$(our_headers)))\.h)
with_lua = $(shell grep -lsE '^\# *include *$(lua_header)' $(1))
C_TESTS := $(wildcard spec/c/test_*.c)
C_BENCHES := $(wildcard spec/bench/*.c)
LUA_PROGRAMS := $(call with_lua,$(C_TESTS) $(C_BENCHES) /dev/null)
TEST_HELPERS := $(filter-out $(C_TESTS),$(wildcard spec/c/*.c spec/c/harness/*.c))

objects = $(patsubst %.c,$(B)/o/%.o,$(1))

# One short line for each command; V=1 shows the command itself.
say = $(if $(V),,@printf '  %-6s%s\n' $(1) $@ && )
link = $(CC) $(SANFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^)

.PHONY: all
all: $(B)/lethe $(B)/lethe.so ## build the executable and the shared object (the default)

# ---- building -----------------------------------------------------------------------------------

# The core is compiled with no header of Lua's in reach.
$(B)/o/runtime/%.o: runtime/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CORE_CFLAGS) -MMD -MP -c $< -o $@

$(B)/o/bindings/%.o: bindings/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(LUA_CFLAGS) -MMD -MP -c $< -o $@

$(B)/o/spec/%.o: spec/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(if $(filter $<,$(LUA_PROGRAMS)),$(LUA_CFLAGS) -Ibindings,$(CORE_CFLAGS)) \
	  -MMD -MP -c $< -o $@

# What is made of many files is made again when one of them is gone.
FILES = $(RUNTIME) $(BINDINGS) $(PROGRAM) $(LUA_FILES)
$(B)/files: FORCE
	@mkdir -p $(@D)
	@echo '$(FILES)' | cmp -s - $@ || echo '$(FILES)' >$@
$(B)/liblethe.a $(B)/lethe.so $(B)/embed.c $(B)/lethe: $(B)/files
.PHONY: FORCE
FORCE:

$(B)/liblethe.a: $(call objects,$(RUNTIME))
	@rm -f $@
	$(call say,AR)ar rcs $@ $(filter %.o,$^)

# nodelete: the allocator of track_state and thread-exit hooks outlive dlclose.
$(B)/lethe.so: $(call objects,$(BINDINGS) $(RUNTIME))
	$(call say,LD)$(link) $(LIBFLAG) -Wl,-z,nodelete $(LIBS)

$(B)/embed.c: bindings/embed.lua $(LUA_FILES)
	@mkdir -p $(@D)
	$(call say,EMBED)$(LUA) bindings/embed.lua $(LUA_FILES) > $@.new && mv $@.new $@

$(B)/o/embed.o: $(B)/embed.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(LUA_CFLAGS) -c $< -o $@

$(B)/lethe: $(call objects,$(PROGRAM) $(BINDINGS) $(RUNTIME)) $(B)/o/embed.o
	$(call say,LD)$(link) -Wl,-E $(LUA_LIBS) -lreadline $(LIBS)

# The man page and the completions, out of the help texts.
MANUAL := $(B)/man/lethe.1 $(B)/man/lethe.bash $(B)/man/_lethe
$(B)/man/lethe.1: kind := man
$(B)/man/lethe.bash: kind := bash
$(B)/man/_lethe: kind := zsh
$(MANUAL): bindings/manual.lua $(B)/lethe
	@mkdir -p $(@D)
	$(call say,MAN)$(B)/lethe bindings/manual.lua $(kind) > $@.new && mv $@.new $@

c-tests := $(C_TESTS:spec/c/%.c=$(B)/t/%)
benches := $(C_BENCHES:spec/bench/%.c=$(B)/bench/%)
lua-programs := $(patsubst spec/bench/%.c,$(B)/bench/%,$(LUA_PROGRAMS:spec/c/%.c=$(B)/t/%))
$(lua-programs): $(call objects,$(BINDINGS))
$(lua-programs): LIBS += $(LUA_LIBS)

$(c-tests): $(B)/t/%: $(B)/o/spec/c/%.o $(call objects,$(TEST_HELPERS)) $(B)/liblethe.a
	@mkdir -p $(@D)
	$(call say,LD)$(link) -lcmocka $(LIBS)

$(benches): $(B)/bench/%: $(B)/o/spec/bench/%.o $(B)/liblethe.a
	@mkdir -p $(@D)
	$(call say,LD)$(link) $(LIBS)

# Peers that benches measure us against, where they are installed (libck-dev, liburcu-dev).
PEERS := $(foreach l,ck urcu-memb urcu-bp urcu-qsbr urcu-common,\
  $(if $(wildcard /usr/lib/*/lib$(l).a /usr/lib/lib$(l).a),-l$(l)))
$(B)/bench/epoch: LIBS += $(PEERS)

# Fuzzers and what is below them, instrumented by clang. Those whose property is a script in Lua
# have the bindings in them.
FUZZFLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
  -fno-omit-frame-pointer -DLETHE_FAULTS
build/fuzz/o/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CLANG)$(CLANG) $(if $(filter runtime/%,$<),$(CORE_CFLAGS),$(LUA_CFLAGS) -Ibindings) \
	  $(FUZZFLAGS) -MMD -MP -c $< -o $@

fuzzers := $(patsubst spec/fuzz/%.c,build/fuzz/%,$(wildcard spec/fuzz/*.c))
lua-fuzzers := $(patsubst spec/fuzz/%.lua,build/fuzz/%,$(wildcard spec/fuzz/*.lua))
$(lua-fuzzers): $(BINDINGS:%.c=build/fuzz/o/%.o)
$(lua-fuzzers): LIBS += -Wl,-E $(LUA_LIBS)
$(fuzzers): build/fuzz/%: build/fuzz/o/spec/fuzz/%.o $(RUNTIME:%.c=build/fuzz/o/%.o)
	$(call say,LD)$(CLANG) -fsanitize=fuzzer,address,undefined -o $@ $(filter %.o,$^) $(LIBS)

# Every C file once more, by both compilers, warnings being errors.
STRICT := $(RUNTIME) $(BINDINGS) $(PROGRAM) $(C_TESTS) $(TEST_HELPERS) $(C_BENCHES) \
  $(wildcard spec/fuzz/*.c)
strict := $(STRICT:%.c=build/strict/gcc/%.o) $(STRICT:%.c=build/strict/clang/%.o)
build/strict/gcc/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,GCC)gcc $(LUA_CFLAGS) -Ibindings -Werror -MMD -MP -c $< -o $@

build/strict/clang/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CLANG)$(CLANG) $(LUA_CFLAGS) -Ibindings -O0 -Werror -MMD -MP -c $< -o $@

.PHONY: c-tests benches fuzzers strict
c-tests: $(c-tests)
benches: $(benches)
fuzzers: $(fuzzers)
strict: $(strict) ## compile every C file with gcc and clang, warnings being errors

# ---- running ------------------------------------------------------------------------------------

.PHONY: demo
demo: ## set up, build, replay a real trace under three policies, and run all engines together
	@spec/tools/setup.sh $(BUILD_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) build/lethe
	@build/lethe spec/examples/replay.lua
	@build/lethe spec/examples/together.lua build/together.html

.PHONY: env
env: ## print the export lines with which a stock lua5.4 finds the built modules
	@echo 'export LUA_PATH="$(CURDIR)/lua/?.lua;$(CURDIR)/lua/?/init.lua;$(CURDIR)/?.lua;;"'
	@echo 'export LUA_CPATH="$(CURDIR)/$(B)/?.so;;"'

# ---- testing ------------------------------------------------------------------------------------

suite = CC='$(CC)' CLANG='$(CLANG)' LUA='$(LUA)' LUAROCKS='$(LUAROCKS)' MAKE='$(MAKE)' \
  JOBS='$(JOBS)' PART='$(PART)' $(LUA) spec/tools/suite.lua
whole = $(suite) $(if $(SAN),variant $(SAN),test)

.PHONY: test
test: ## set up, then all checks and tests; with SAN=address or thread that variant's tests alone
	@spec/tools/setup.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	@$(whole)

.PHONY: check
check: ## the same without set-up; PART='weak maps' runs the parts whose names contain that
	@$(whole)

.PHONY: torture
torture: ## long: full sweeps, valgrind, a restless collector; see WORK SEED SECONDS THREADS below
	@spec/tools/setup.sh $(BUILD_PACKAGES) $(TEST_PACKAGES) $(TORTURE_PACKAGES)
	@LETHE_WORK='$(or $(WORK),$(if $(SECONDS),1,10))' THREADS='$(THREADS)' SECONDS='$(SECONDS)' \
	  SEED='$(or $(SEED),$(shell date +%s))' $(suite) torture

.PHONY: cover
cover: ## which lines of runtime/ and bindings/ the tests reach; build/cover/report.html
	@spec/tools/setup.sh $(BUILD_PACKAGES) $(TEST_PACKAGES) $(TORTURE_PACKAGES)
	@find build/cover -name '*.gcda' -delete 2>/dev/null || true
	@$(suite) variant cover
	@gcovr --root . --filter runtime/ --filter bindings/ --exclude-throw-branches \
	  --html-details build/cover/report.html --txt build/cover/report.txt --sort-percentage \
	  --print-summary --fail-under-line 90 build/cover

.PHONY: fuzz
fuzz: ## run each fuzzer for FUZZ_SECONDS=60, from the seeds in spec/fuzz/seeds
	@FUZZ_SECONDS='$(or $(FUZZ_SECONDS),60)' $(suite) fuzz

.PHONY: bench
bench: ## set up, then measure ratios, each side by side in one run
	@spec/tools/setup.sh $(BUILD_PACKAGES) $(TEST_PACKAGES)
	@spec/tools/setup.sh $(BENCH_PACKAGES) || true
	@$(MAKE) --no-print-directory -j$(JOBS) all benches
	@spec/tools/bench.sh $(B)

.PHONY: bench-smoke
bench-smoke: all benches ## every bench as short as it goes, to see that it runs
	@LETHE_WORK=0.01 spec/tools/bench.sh $(B)

# ---- checks of the structure --------------------------------------------------------------------

.PHONY: check-layers
check-layers: ## arrows point down: includes, requires, symbols; planted offenders are found
	@$(LUA) spec/tools/layers.lua
	@$(LUA) spec/tools/layers.lua --plant
	@$(MAKE) -s --no-print-directory build/liblethe.a
	@CC='$(CC)' $(LUA) spec/tools/layers.lua --symbols

.PHONY: check-gc-classes
check-gc-classes: build/lethe ## every __gc only notes a death; planted offenders are found
	@$(LUA) spec/tools/gc_classes.lua
	@$(LUA) spec/tools/gc_classes.lua --plant
	@build/lethe spec/tools/gc_classes_run.lua

.PHONY: docscov
docscov: build/lethe reference ## each exported name has a LuaLS stub or annotation, and back
	@build/lethe spec/tools/docscov.lua

.PHONY: reference
reference: ## write the reference in Markdown, from the stubs, into build/reference
	@$(LUA) spec/tools/reference.lua build/reference

.PHONY: check-pages
check-pages: build/lethe ## the README files' code runs; their links and make targets exist
	@build/lethe spec/tools/pages.lua

.PHONY: check-install
check-install: ## install somewhere, use it from a stock lua5.4, uninstall
	@CC='$(CC)' LUA='$(LUA)' MAKE='$(MAKE)' spec/tools/check_install.sh

.PHONY: check-rock
check-rock: ## lint the rockspec and build it into a tree of its own
	@JOBS='$(JOBS)' LUA='$(LUA)' LUAROCKS='$(LUAROCKS)' spec/tools/check_rock.sh

.PHONY: tidy
tidy: ## clang-tidy (.clang-tidy says which checks) and cppcheck over runtime/ and bindings/
	@clang-tidy --quiet --warnings-as-errors='*' $(RUNTIME) $(BINDINGS) $(PROGRAM) -- \
	  -std=c11 -D_GNU_SOURCE -Iruntime/include -I$(LUA_INCDIR) 2>&1 | \
	  { ! grep -A3 -E 'warning:|error:'; }
	@cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability,performance \
	  --suppress=missingIncludeSystem --suppress=nullPointerRedundantCheck \
	  --suppress=ctunullpointer --suppress=internalAstError --inline-suppr \
	  -Iruntime/include runtime bindings

.PHONY: lint
lint: tidy ## luacheck, shellcheck, clang-tidy, cppcheck
	@luacheck -q --no-color lua spec bindings --exclude-files lua/lethe/meta
	@luacheck -q --no-color lua/lethe/meta --ignore 212 241
	@shellcheck .ci/run spec/tools/*.sh

C_FILES := $(STRICT) $(HEADERS) $(wildcard spec/examples/c/*.c runtime/*/*.h runtime/*/*/*.h \
  bindings/*.h spec/*/*.h spec/*/*/*.h)
.PHONY: check-format format
check-format: ## fail where a C file is not laid out by .clang-format, or a line is too long
	@clang-format --dry-run -Werror $(C_FILES)
	@$(LUA) spec/tools/columns.lua
format: ## lay out the C files by .clang-format
	@clang-format -i $(C_FILES)

# ---- packaging ----------------------------------------------------------------------------------

INSTALL ?= install
to = $(DESTDIR)$(1)
# Where a file of MANUAL goes, below SHAREDIR.
page = $(patsubst %.1,man/man1/%.1,$(patsubst %.bash,bash-completion/completions/%,$(patsubst \
  _%,zsh/site-functions/_%,$(notdir $(1)))))

.PHONY: install
install: all $(B)/liblethe.a $(MANUAL) reference ## into PREFIX (/usr/local), below DESTDIR
	@$(INSTALL) -d $(foreach d,$(BINDIR) $(LIBDIR)/pkgconfig $(INST_LIBDIR) $(INCDIR)/lethe, \
	  $(call to,$d))
	$(INSTALL) -m 755 $(B)/lethe $(call to,$(BINDIR))/lethe
	$(INSTALL) -m 755 $(B)/lethe.so $(call to,$(INST_LIBDIR))/lethe.so
	$(INSTALL) -m 644 $(B)/liblethe.a $(call to,$(LIBDIR))/liblethe.a
	$(INSTALL) -m 644 $(HEADERS) $(call to,$(INCDIR)/lethe)
	@sed $(foreach v,PREFIX LIBDIR INCDIR VERSION LIBS,-e \
	  's|@$v@|$(patsubst $(PREFIX)/%,$${prefix}/%,$($v))|') runtime/lethe.pc.in \
	  >$(call to,$(LIBDIR)/pkgconfig/lethe.pc)
	@spec/tools/copy.sh lua $(call to,$(INST_LUADIR)) $(LUA_FILES:lua/%=%)
	@spec/tools/copy.sh lua/lethe/meta $(call to,$(SHAREDIR)/lethe/types) $(notdir $(STUBS))
	@spec/tools/copy.sh build/reference $(call to,$(SHAREDIR)/doc/lethe) $$(ls build/reference)
	@$(foreach f,$(MANUAL),$(INSTALL) -D -m 644 $f $(call to,$(SHAREDIR)/$(call page,$f)) &&) true

.PHONY: uninstall
uninstall: ## remove what install put there
	rm -f $(call to,$(BINDIR))/lethe $(call to,$(INST_LIBDIR))/lethe.so \
	  $(call to,$(LIBDIR))/liblethe.a \
	  $(call to,$(LIBDIR)/pkgconfig/lethe.pc) \
	  $(foreach f,$(MANUAL),$(call to,$(SHAREDIR)/$(call page,$f)))
	rm -rf $(call to,$(INCDIR)/lethe) $(call to,$(INST_LUADIR)/lethe) $(call to,$(SHAREDIR)/lethe) \
	  $(call to,$(SHAREDIR)/doc/lethe)
ifeq ($(DESTDIR),)
	@rmdir --ignore-fail-on-non-empty $(foreach d,$(INST_LIBDIR) $(INST_LUADIR), \
	  $d $(filter %/lua/,$(dir $d))) 2>/dev/null || true
else
	@cd '$(DESTDIR)' && for d in $(BINDIR) $(INST_LIBDIR) $(LIBDIR)/pkgconfig $(INCDIR) \
	  $(INST_LUADIR) $(SHAREDIR)/doc \
	  $(patsubst %/,$(SHAREDIR)/%,$(dir $(foreach f,$(MANUAL),$(call page,$f)))); do \
	  rmdir -p --ignore-fail-on-non-empty .$$d 2>/dev/null || true; done
endif

.PHONY: dist
dist: ## build/lethe-VERSION.tar.gz of what is committed
	@mkdir -p build
	git archive --prefix=lethe-$(VERSION)/ -o build/lethe-$(VERSION).tar.gz HEAD

.PHONY: clean
clean: ## remove what was built
	rm -rf build

.PHONY: help
help: ## this list
	@echo 'make TARGET [VARIABLE=value]; every target builds what it needs.'
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  \1\t/' | expand -t 20
	@echo 'Variables: SAN=address|thread CC CFLAGS LDFLAGS LUA LUA_INCDIR LUA_LIBS PREFIX DESTDIR'
	@echo 'BINDIR LIBDIR INCDIR INST_LIBDIR INST_LUADIR JOBS V=1 (shows the commands)'
	@echo 'Torture: WORK=10 (times what a test does), SEED (of all that is random; a new one if not'
	@echo 'given), THREADS (in tests of threads), SECONDS (models, schedulers, crashes, schedules of'
	@echo 'collectors, want of memory and threads alone, with one seed after the other, for so long)'

-include $(shell find $(B)/o build/strict build/fuzz -name '*.d' 2>/dev/null)
