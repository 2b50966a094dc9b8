//! A few threads that turn blocks into other blocks, in order.

use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// One block on its way through a thread: both buffers go along, so that none is made again.
pub(super) struct Block {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    result: io::Result<()>,
}

struct Task {
    block: Block,
    done: SyncSender<Block>,
}

/// The threads, and the blocks that are with them.
///
/// At most one block more than there are threads is under way: enough that none waits, and the
/// bound of the memory in use.
pub(super) struct Workers {
    tasks: SyncSender<Task>,
    under_way: VecDeque<Receiver<Block>>,
    most: usize,
    spare: Vec<Block>,
}

impl Workers {
    /// Starts threads; each makes its own state and calls `work` with it for every block. In the
    /// buffer for its output an earlier one may still stand.
    pub(super) fn start<S, M, F>(threads: usize, make: M, work: F) -> io::Result<Self>
    where
        S: 'static,
        M: Fn() -> S + Clone + Send + 'static,
        F: Fn(&mut S, &[u8], &mut Vec<u8>) -> io::Result<()> + Clone + Send + 'static,
    {
        let (tasks, queue) = sync_channel::<Task>(threads + 1);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..threads {
            let (queue, make, work) = (Arc::clone(&queue), make.clone(), work.clone());
            let started = thread::Builder::new()
                .name("compression".to_owned())
                .spawn(move || {
                    let mut state = make();
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok(mut task) = next else {
                            break;
                        };
                        let Block {
                            input,
                            output,
                            result,
                        } = &mut task.block;
                        *result = work(&mut state, input, output);
                        // Whoever started the task may have given up since.
                        let _ = task.done.send(task.block);
                    }
                });
            match started {
                Ok(_) => {}
                Err(error) if number == 0 => return Err(error),
                // Fewer do the same in more time.
                Err(_) => break,
            }
        }
        Ok(Self {
            tasks,
            under_way: VecDeque::with_capacity(threads + 1),
            most: threads + 1,
            spare: Vec::new(),
        })
    }

    /// A buffer to fill, in which anything may still stand.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        let spare = self.spare.last_mut();
        spare.map_or_else(Vec::new, |spare| std::mem::take(&mut spare.input))
    }

    /// Whether as many blocks are under way as may be; then the first must be taken out.
    pub(super) fn is_full(&self) -> bool {
        self.under_way.len() >= self.most
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn put(&mut self, input: Vec<u8>) -> io::Result<()> {
        let output = self.spare.pop().map_or_else(Vec::new, |spare| spare.output);
        let (done, receiver) = sync_channel(1);
        let block = Block {
            input,
            output,
            result: Ok(()),
        };
        self.tasks.send(Task { block, done }).map_err(|_| gone())?;
        self.under_way.push_back(receiver);
        Ok(())
    }

    /// Waits for the block that was put in first.
    pub(super) fn take(&mut self) -> io::Result<Block> {
        let receiver = self.under_way.pop_front().ok_or_else(gone)?;
        let mut block = receiver.recv().map_err(|_| gone())?;
        std::mem::replace(&mut block.result, Ok(()))?;
        Ok(block)
    }

    /// Gives a block's buffers back for another one.
    pub(super) fn give_back(&mut self, block: Block) {
        self.spare.push(block);
    }
}

/// A thread ends before its queue only by a panic.
fn gone() -> io::Error {
    io::Error::other("a compression thread has failed")
}
