//! The thread that starts programs.

use std::io;
use std::sync::{Mutex, PoisonError, mpsc};

use tokio::process::Command;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// A program to be started, and who waits for it.
struct Order {
    command: Command,
    runtime: Handle,
    reply: oneshot::Sender<io::Result<tokio::process::Child>>,
}

/// The thread that starts programs; none before the first, or where it could not be had.
static ORDERS: Mutex<Option<mpsc::Sender<Order>>> = Mutex::new(None);

/// Starts a program from a thread that lives as long as the process. The signal for the parent's
/// death comes when the *thread* that started the program ends (prctl(2), `PR_SET_PDEATHSIG`), and
/// a runtime ends its threads as it likes.
pub(super) async fn spawn_from_lasting_thread(
    command: Command,
) -> io::Result<tokio::process::Child> {
    let (reply, child) = oneshot::channel();
    let order = Order {
        command,
        runtime: Handle::current(),
        reply,
    };
    give(order)?;
    let gone = |_| io::Error::other("the thread that starts programs has ended");
    child.await.map_err(gone)?
}

/// Hands an order to the thread, and starts one where there is none.
fn give(order: Order) -> io::Result<()> {
    let mut orders = ORDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let order = match &*orders {
        None => order,
        Some(sender) => match sender.send(order) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(order)) => order,
        },
    };
    let (sender, incoming) = mpsc::channel::<Order>();
    std::thread::Builder::new()
        .name("spawn".to_owned())
        .spawn(move || {
            for mut order in incoming {
                let runtime = order.runtime.enter();
                let child = order.command.spawn();
                drop(runtime);
                // Whoever gave up waiting wants no child: dropping it kills it.
                order.reply.send(child).ok();
            }
        })?;
    // It has just been started, and ends only when this sender is dropped.
    sender
        .send(order)
        .map_err(|_| io::Error::other("the thread that starts programs has ended"))?;
    *orders = Some(sender);
    Ok(())
}
