//! Links and what they lead to.

use super::*;

#[test]
fn expired_link_stays_expired_and_may_be_renewed() {
    for (plan, dead, fresh) in [
        ("link=30s", 403, 200),
        ("link=30s expired=410", 410, 200),
        ("link=30s links=same", 403, 403),
        ("link=30s links=fresh", 403, 200),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = provider.task("a");
        provider.advance(20);
        let link = provider.link(&id);
        assert_eq!(provider.link(&id) == link, !plan.contains("fresh"), "{plan}");
        assert_eq!(provider.request(&Request::media(&link, None)).status, 200, "{plan}");
        provider.advance(30);
        assert_eq!(provider.request(&Request::media(&link, None)).status, dead, "{plan}");
        let next = provider.link(&id);
        assert_eq!(provider.request(&Request::media(&next, None)).status, fresh, "{plan}");
    }
}

#[test]
fn link_opens_its_own_file_once_ready_for_authorized_clients() {
    let mut provider = Provider::with_faults("ready=60s media-key=yes outputs=2");
    let id = provider.task("a");
    provider.advance(20);
    let status = provider.status(&id);
    let link = |n: usize| status["result"]["videos"][n]["url"][0].as_str().expect("a link").to_owned();
    assert_eq!(provider.request(&Request::media(&link(0), None)).status, 401);
    let with_key =
        |link: &str| Request { authorization: Some(Secret::new("Bearer sk")), ..Request::media(link, None) };
    assert_eq!(provider.request(&with_key(&link(0))).status, 404);
    provider.advance(60);
    let answer = provider.request(&with_key(&link(0)));
    let output = provider.world.ledger().tasks[0].outputs[0].clone();
    assert_eq!((answer.status, sha256_hex(&answer.body.bytes())), (200, output.sha256));
    let (path, _) =
        link(0).split_once('?').map(|(path, sig)| (path.to_owned(), sig.to_owned())).expect("a query");
    let (_, other) =
        link(1).split_once('?').map(|(path, sig)| (path.to_owned(), sig.to_owned())).expect("a query");
    assert_eq!(provider.request(&with_key(&format!("{path}?{other}"))).status, 403);
    assert_eq!(provider.request(&with_key(&path)).status, 403);
}

#[test]
fn media_faults_of_one_output_leave_the_others_alone() {
    for (plan, statuses) in [
        ("media=410 outputs=3 media-output=1", [200, 410, 200]),
        ("media=410 outputs=3", [410, 410, 410]),
        ("media-host=dead.example outputs=3 media-output=2", [200, 200, 0]),
    ] {
        let mut provider = Provider::with_faults(plan);
        let id = provider.task("a");
        provider.advance(20);
        let status = provider.status(&id);
        let found = [0, 1, 2].map(|n: usize| {
            let link = status["result"]["videos"][n]["url"][0].as_str().expect("a link");
            let here = !link.contains("dead.example");
            if here { provider.request(&Request::media(link, None)).status } else { 0 }
        });
        assert_eq!(found, statuses, "{plan}");
    }
}

#[test]
fn large_clip_is_never_in_memory() {
    let mut provider = Provider::with_faults("size=3GiB");
    let id = provider.task("a");
    provider.advance(20);
    let link = provider.link(&id);
    let answer = provider.request(&Request::media(&link, Some((3 << 30) - 10)));
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    assert!(matches!(answer.body, Body::Clip(..)));
}
