"""Deliberately broken programs: one function changed, and the rows that must catch it."""

from __future__ import annotations

from dataclasses import dataclass

from torture.change import Change, drop, swap

STATE = "training.build_state:build_state"


@dataclass(frozen=True)
class Mutant:
    """With the change made, the program is broken.

    Attributes:
        about: What is broken, in a few words.
        change: See change.py.
        caught_by: Rows that must fail on it, the quickest first.
        in_ci: Whether CI has the time for the first of them; ``scripts/torture ROW --mutants`` has for all.
        trials: How many the row needs to come to it; 0: as many as for its other mutants.
    """

    about: str
    change: Change
    caught_by: tuple[str, ...]
    in_ci: bool = True
    trials: int = 0


MUTANTS: dict[str, Mutant] = {
    # a resume that leaves something out
    "random-state-forgotten": Mutant("a resume leaves out the random state", drop(STATE, "RandomPart(*_)"),
                                     ("R5", "R1")),
    "progress-forgotten": Mutant("a resume forgets where it was",
                                 swap(STATE, "[progress, SchedulePart(_1), *_]", "[SchedulePart(_1), *_]"), ("R5",),
                                 False),
    "optimizer-forgotten": Mutant("a resume leaves out the optimizer's state", drop(STATE, "OptimizerPart(*_)"),
                                  ("R5",), False),
    "objectives-forgotten": Mutant("a resume leaves out the base term's own layers",
                                   drop(STATE, 'ModulePart("objectives", _)'), ("R5",), False),
    "adapters-forgotten": Mutant("a resume goes on from merged weights", drop(STATE, 'ModulePart("adapters", _)'),
                                 ("R5",), False, trials=6),
    "schedule-forgotten": Mutant("a run limited by minutes forgets that it cools down",
                                 drop(STATE, "SchedulePart(*_)"), ("R5",), False, trials=19),
    "precision-forgotten": Mutant("a resume leaves out the format and the loss scaler",
                                  drop(STATE, "PrecisionPart(*_)"), ("R8",), False),
    "scaler-not-restored": Mutant("a resume begins with a new loss scale",
                                  drop("training.state:PrecisionPart.load",
                                       "self._precision.scaler.load_state_dict(_)"), ("R8",), False),
    "weighting-forgotten": Mutant("a resume leaves out what the weighting has learned",
                                  drop(STATE, "WeightingPart(*_)"), ("R8",), False),
    "weights-forgotten": Mutant("a resume goes on from averaged weights", drop(STATE, 'ModulePart("weights", _)'),
                                ("R5",), False, trials=7),
    "average-forgotten": Mutant("a resume begins the average anew", drop(STATE, "AveragePart(*_)"), ("R5",), False,
                                trials=7),

    # numbers
    "counted-by-micro-batch": Mutant("a step's loss is divided by its last micro-batch's items",
                                     swap("training.step:TrainStep.agree", "counts[name] += int(count)",
                                          "counts[name] = int(count)"), ("R7",), False),
    "schedule-steps-on-a-skip": Mutant("a skipped step moves the rates",
                                       swap("training.trainer:take_steps",
                                            "run.optimization.step(*_, progress.updates)",
                                            "run.optimization.step(*_, progress.step)"), ("R8",)),
    "average-moves-on-a-skip": Mutant("a skipped step moves the average",
                                      swap("training.step:TrainStep.__call__", "if not skipped:\n    ...",
                                           "if True:\n    ..."), ("R8",)),
    "spoilt-base-read": Mutant("a base that holds NaN is trained",
                               swap("models.backbone.load_errors:check_finite", "not bool(value.isfinite().all())",
                                    "False"),
                               ("R7",)),
    "spoilt-updates-saved": Mutant("what an update has spoilt is saved", drop("training.save:save", "check_finite(*_)"),
                                   ("R7",), False),
    "losses-unchecked": Mutant("a loss that is not finite is stepped on",
                               swap("training.step:TrainStep.__call__",
                                    "not all(math.isfinite(value) for value in means.values())", "False"), ("R7",),
                               False),
    "skips-stop": Mutant("a loss that is not finite stops the run whatever was asked for",
                         swap("training.step:TrainStep._skip", "self.on_nonfinite is OnNonFinite.stop", "True"),
                         ("R7",), False),
    "rows-misnamed": Mutant("every row of a batch is blamed",
                            swap("training.diagnostics.nonfinite:Blame.__call__", "bad & self._not_finite(*_)", "bad"),
                            ("R7",), False),

    # signals and stops
    "save-request-kills": Mutant("SIGUSR1 ends a run that starts or scores",
                                 drop("cli.commands.train:run", "await_save_requests()"), ("R4",), False),
    "second-signals-ignored": Mutant("a second signal changes nothing",
                                     drop("core.signals:StopSignals._stop", "os._exit(_)"), ("R4",), False),
    "stops-unsaved": Mutant("a stop saves nothing", drop("training.trainer:stop", "save(_)"), ("R4",), False),
    "stops-end-with-0": Mutant("a stopped run ends as a finished one",
                               swap("core.errors:Stopped.__init__", "self.exit_code = _", "self.exit_code = 0"),
                               ("R4",)),
    "workers-hear-signals": Mutant("a signal to the group is the data workers' too",
                                   drop("core.signals:ignore_in_worker", "signal.signal(*_)"), ("R4",), False),

    # which checkpoint is kept, and gone on from
    "best-pruned": Mutant("pruning forgets the best checkpoint",
                          swap("checkpoint.save:prune", "best | {last}", "{last}"), ("R16",)),
    "stale-taken": Mutant("a later step from elsewhere is gone on from",
                          swap("checkpoint.locate:_check_own", 'manifest.meta.get("after") != last', "False"), ("R16",),
                          False, trials=12),
    "foreign-taken": Mutant("a later step of another configuration is gone on from where last is missing",
                            swap("training.resume:find_start", "may_be_by(*_)", "True"), ("R16",), False, trials=12),
    "damaged-best-kept": Mutant("a damaged best checkpoint stays the best",
                                drop("training.resume:settle_pointers", "checkpoint.verify(_)"), ("R6",), False),
    "hashes-unread": Mutant("a file's size is all that is verified",
                            swap("checkpoint.verify:_check", "record_of(_) != record", "False"), ("R6",)),
    "one-goes-on-for-two": Mutant("one process goes on with the run of two",
                                  swap("training.resume:_check_meta", 'meta["world_size"] != processes', "False"),
                                  ("R10",), False),

    # files and disks
    "saved-without-fsync": Mutant("a checkpoint's files are not forced to disk",
                                  drop("core.files:_settle", "os.fsync(_)"), ("R2",)),
    "renamed-before-synced": Mutant("a checkpoint is committed and only then forced to disk",
                                    swap("core.files:stage_folder",
                                         """
                                         _settle(staged)
                                         if final.exists():
                                             ...
                                         staged.rename(final)
                                         """,
                                         """
                                         if final.exists():
                                             ...
                                         staged.rename(final)
                                         _settle(final)
                                         """), ("R2",), False),
    "entries-unforced": Mutant("a checkpoint's folders are renamed before their entries are on disk",
                               drop("core.files:_settle", "sync_folder(_)"), ("R2",), False),
    "pointers-unforced": Mutant("a pointer is renamed before its content is on disk",
                                drop("core.files:write_text", "os.fsync(_)"), ("R2",), False),
    "moves-unforced": Mutant("a pointer's rename is not forced to disk",
                             drop("core.files:write_text", "sync_folder(_)"), ("R2",), False),
    "log-failures-untold": Mutant("a log that cannot be written is a bug of ours",
                                  drop("core.logging:MetricsLog.write", "writing(*_)"), ("R3",)),
    "closed-folders-misjudged": Mutant("a folder that may not be written is a wrong key",
                                       swap("core.files:_translate", "number in DISK | NOT_ALLOWED", "number in DISK"),
                                       ("R3",), False, trials=5),
    "cache-failures-untold": Mutant("a cache that cannot be written is a bug of ours",
                                    swap("data.features:tokenize", "nullcontext() if folder is None else writing(*_)",
                                         "nullcontext()"), ("R3",), False),
    "errors-end-with-1": Mutant("an expected failure ends with the code of a bug",
                                swap("core.errors:LlmtrainError", "exit_code = 2", "exit_code = 1"), ("R9",)),
    "refusals-leave-traces": Mutant("a run that failed before its first checkpoint stays",
                                    swap("training.run_folder.claim:RunFolder.abandon",
                                         "(self.path / RESULTS).exists()", "True"), ("R9",)),
    "no-lock": Mutant("the run folder's lock is shared",
                      swap("core.lock:FolderLock.__init__", "fcntl.LOCK_EX", "fcntl.LOCK_SH"), ("R15",)),

    # what others made
    "manifests-take-pickles": Mutant("a checkpoint may hold any kind of file",
                                     swap("checkpoint.untrusted:unsafe_name",
                                          "name.lower().endswith(FORBIDDEN_SUFFIXES)", "False"), ("R12",)),
    "links-followed": Mutant("a base's files may be links to anything",
                             drop("models.backbone.untrusted:followed", "_links(_)"), ("R12",), False),
    "resolvers-resolved": Mutant("an override may ask for the environment",
                                 swap("config.compose:parse", "(resolver := next(_1, None)) is not None",
                                      "(resolver := next(_1, None)) is ..."), ("R12",), False, trials=13),
    "indexes-followed": Mutant("an index may name any file",
                               swap("models.backbone.untrusted:_shards",
                                    'Path(name).name != name or not name.endswith(".safetensors")', "False"),
                               ("R12",), False),
    "large-indexes-unseen": Mutant("an index too large to look into is followed",
                                   swap("models.backbone.untrusted:_read",
                                        "if _1 > INDEX_LIMIT:\n    return None, _2",
                                        "if _1 > INDEX_LIMIT:\n    return None, None"), ("R12",), False, trials=12),
    "published-unseen": Mutant("a checkpoint's model may name weights elsewhere",
                               drop("hf:load", "check_published(_)"), ("R12",), False, trials=12),
    "tokenizers-run-code": Mutant("a base's tokenizer may bring code",
                                  swap("models.backbone.pretrained:tokenizer_in",
                                       "AutoTokenizer.from_pretrained(_1, trust_remote_code=False, **_)",
                                       "AutoTokenizer.from_pretrained(_1, trust_remote_code=True, **_)"), ("R12",),
                                  False, trials=12),
    "lines-uncounted": Mutant("an archive may hold a hundred million lines",
                              drop("data.sources.unpacking_limits:bounded", "made += ROW * _ + ITEM * _"), ("R12",),
                              False, trials=13),
    "parquet-unbounded": Mutant("a Parquet file may unpack to anything",
                                drop("data.sources.readers:_parquet", "check_bound(path, total)"), ("R12",),
                                False, trials=12),
    "secrets-told": Mutant("nothing is struck out of what is told, and nothing refused",
                           swap("core.errors:redact", "return LOGIN.sub(_1, TOKEN.sub(_2, text))", "return text"),
                           ("R13",)),
    "logins-told": Mutant("a login in a URL is told, and taken",
                          swap("core.errors:redact", "LOGIN.sub(_1, TOKEN.sub(_2, text))", "TOKEN.sub(_2, text)"),
                          ("R13",), False),

    # other processes, and the network
    "lost-ranks-unnamed": Mutant("a lost rank is told as the address of a socket",
                                 swap("training.distributed:others_told", "accelerator.num_processes > 1 and any(*_)",
                                      "False and any(*_)"), ("R10",)),
    "survivors-wait": Mutant("a rank that stands still is waited for",
                             swap("training.accelerator:start_accelerator", "timedelta(seconds=_)",
                                  "timedelta(hours=1)"),
                             ("R10",), False, trials=6),
    "workers-unended": Mutant("a stopped data worker stays", drop("data.loader:StepLoader.iterate", "end(_)"), ("R11",),
                              False, trials=6),
    "lost-workers-a-bug": Mutant("a lost data worker is a bug of ours",
                                 swap("data.workers:losses_told", "raise _told(*_) from error", "raise"), ("R11",)),
    "locals-ask-the-hub": Mutant("a local folder too asks whether the hub is there",
                                 swap("models.backbone.pretrained:find_base",
                                      "if Path(path).is_dir():\n    check_folder(_1)\n    ...",
                                      "if unreachable('/') is not None and Path(path).is_dir():\n"
                                      "    check_folder(_1)\n    ..."), ("R14",)),

    # documents
    "order-lost": Mutant("a document without text shifts the summaries behind it",
                         swap("tasks.predictor:Predictor._predict",
                              """
                              for number, one in zip(_1, made, strict=True):
                                  predictions[number] = one
                              """,
                              """
                              for number, one in enumerate(made):
                                  predictions[number] = one
                              """), ("R18",)),
    "all-tokenised": Mutant("a long document is tokenised whole",
                            swap("data.truncation", "LONGEST_WHOLE = _", "LONGEST_WHOLE = 1 << 40"), ("R18",), False),
}
