//! What is told of a server that has several replicas: what one of them lists, the
//! lead. Whether another lists the same is seen at each call, which goes to no other
//! tool than the one that was decided on.

use crate::downstream::News;
use crate::downstream::Phase;
use crate::tool::Kind;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::sync::mpsc;
use tokio::sync::watch;

/// How one replica is.
pub(super) type Watched = watch::Receiver<Phase>;

/// Who is told.
pub(super) struct Told {
    /// What the lead says.
    pub(super) news: mpsc::UnboundedSender<News>,
    /// The place of the lead.
    pub(super) lead: Arc<AtomicUsize>,
    /// Whether the first start of each has ended.
    pub(super) began: watch::Sender<bool>,
}

/// One replica as it is heard.
struct Heard {
    phase: Watched,
    /// What it listed last, to each kind of clients.
    lists: BTreeMap<Kind, News>,
    /// Its first start has ended, well or not.
    began: bool,
}

/// Passes on what the lead says, until no replica says anything any more.
pub(super) async fn pass_on(
    phases: Vec<Watched>,
    mut incoming: Vec<mpsc::UnboundedReceiver<News>>,
    told: Told,
) {
    let heard = |phase| Heard {
        phase,
        lists: BTreeMap::new(),
        began: false,
    };
    let mut all: Vec<Heard> = phases.into_iter().map(heard).collect();
    let mut lead = None;
    let to = &told.news;
    while let Some((place, news)) = next(&mut incoming).await {
        if let News::Tools { kind, .. } = &news
            && let Some(one) = all.get_mut(place)
        {
            one.lists.insert(kind.clone(), news.clone());
        }
        // An error says that nobody wants to know any more.
        match &news {
            News::State { .. } => {
                if lead == Some(place) && all.get(place).is_some_and(Heard::is_away) {
                    lead = all.iter().position(Heard::can_lead).or(lead);
                    if let Some(lead) = lead {
                        told.lead.store(lead, Ordering::Relaxed);
                    }
                    let lists = lead.and_then(|lead| all.get(lead));
                    for list in lists.into_iter().flat_map(|one| one.lists.values()) {
                        let _unheard = to.send(list.clone());
                    }
                }
                let _unheard = to.send(news);
                if let Some(one) = all.get_mut(place) {
                    one.began = true;
                }
                let all_began = all.iter().all(|one| one.began);
                told.began.send_if_modified(|began| {
                    let before = std::mem::replace(began, all_began);
                    before != *began
                });
            }
            News::Tools { .. } | News::NothingNew { .. } | News::NotListed { .. } => {
                let led = lead.and_then(|lead| all.get(lead));
                if led.is_none_or(Heard::is_away) {
                    lead = Some(place);
                }
                if lead == Some(place) {
                    told.lead.store(place, Ordering::Relaxed);
                    let _unheard = to.send(news);
                }
            }
        }
    }
}

impl Heard {
    fn is_away(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Failed(_) | Phase::Stopped)
    }

    fn can_lead(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Ready { .. }) && !self.lists.is_empty()
    }
}

/// What one of them says next, and which. None where all are gone.
async fn next(incoming: &mut [mpsc::UnboundedReceiver<News>]) -> Option<(usize, News)> {
    poll_fn(|cx| {
        let mut open = false;
        for (place, one) in incoming.iter_mut().enumerate() {
            match one.poll_recv(cx) {
                Poll::Ready(Some(news)) => return Poll::Ready(Some((place, news))),
                Poll::Ready(None) => {}
                Poll::Pending => open = true,
            }
        }
        match open {
            true => Poll::Pending,
            false => Poll::Ready(None),
        }
    })
    .await
}
